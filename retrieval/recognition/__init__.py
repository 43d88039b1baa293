"""Recognition by neighbours: classes without training, 'unknown', groups of a taxonomy, duplicates."""

from .calibration import LevelCalibration, calibrate
from .duplicates import DuplicateGroup, find_duplicates
from .recognizer import Candidate, Recognition, Recognizer
from .report import (
    duplicates_to_json,
    format_calibration,
    format_duplicates,
    format_recognition,
    recognition_to_json,
)
from .taxonomy import Taxonomy, read_taxonomy
from .unknown import auroc, choose_threshold, parse_target
from .vote import Votes, knn_vote

__all__ = [
    'Candidate',
    'DuplicateGroup',
    'LevelCalibration',
    'Recognition',
    'Recognizer',
    'Taxonomy',
    'Votes',
    'auroc',
    'calibrate',
    'choose_threshold',
    'duplicates_to_json',
    'find_duplicates',
    'format_calibration',
    'format_duplicates',
    'format_recognition',
    'knn_vote',
    'parse_target',
    'read_taxonomy',
    'recognition_to_json',
]
