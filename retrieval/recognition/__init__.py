"""Recognition by neighbours: classes without training, 'unknown', groups of a taxonomy, duplicates."""

from .duplicates import DuplicateGroup, duplicates_to_json, find_duplicates, format_duplicates
from .recognizer import Candidate, Recognition, Recognizer, Votes, format_recognition, knn_vote, recognition_to_json
from .taxonomy import Taxonomy, read_taxonomy
from .unknown import LevelCalibration, auroc, calibrate, choose_threshold, format_calibration, parse_target

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
