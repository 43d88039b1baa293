"""Objects in photos: found by a detector, named by GLSim, and searched for in a gallery."""

from .boxes import crop_areas
from .detection import DetectedObjects, Detector, MMDetDetector
from .object_search import FoundObject, ObjectSearch, PhotoObjects
from .output import to_data_samples

__all__ = [
    'DetectedObjects',
    'Detector',
    'FoundObject',
    'MMDetDetector',
    'ObjectSearch',
    'PhotoObjects',
    'crop_areas',
    'to_data_samples',
]
