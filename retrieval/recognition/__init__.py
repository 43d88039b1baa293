"""Recognition in a gallery: classes without training, how sure that is, 'unknown', groups, duplicates."""

from .audit import Audit, Conflict, HardPair, Outlier, Suspect, audit
from .class_guide import ClassEntry, NearClass, class_guide, prototypes
from .class_means import ClassMeans
from .class_names import ClassIndex, read_checklist
from .duplicates import (
    DuplicateGroup,
    decide_duplicates,
    duplicates_to_json,
    find_duplicates,
    format_duplicates,
    near_threshold,
)
from .left_out import OBSERVATION
from .places import DegreeGrid, H3Grid, Taken
from .prior import ClassPrior, Prior
from .recognizer import Candidate, PriorEffect, Recognition, Recognizer
from .settings import Novelty, PriorSettings, Settings, fingerprint_of, read_settings, store_settings
from .taxonomy import Taxonomy, read_taxonomy
from .tuning import accepting, tune
from .unknown import auroc
from .vote import Votes, knn_vote, number_labels, similarities
from .words import (
    ClassName,
    describe_accepting,
    describe_novelty,
    describe_prior,
    describe_recognition,
    describe_settings,
    format_recognition,
    read_names,
    recognition_to_json,
)

__all__ = [
    'OBSERVATION',
    'Audit',
    'Candidate',
    'ClassEntry',
    'ClassIndex',
    'ClassMeans',
    'ClassName',
    'ClassPrior',
    'Conflict',
    'DegreeGrid',
    'DuplicateGroup',
    'H3Grid',
    'HardPair',
    'NearClass',
    'Novelty',
    'Outlier',
    'Prior',
    'PriorEffect',
    'PriorSettings',
    'Recognition',
    'Recognizer',
    'Settings',
    'Suspect',
    'Taken',
    'Taxonomy',
    'Votes',
    'accepting',
    'audit',
    'auroc',
    'class_guide',
    'decide_duplicates',
    'describe_accepting',
    'describe_novelty',
    'describe_prior',
    'describe_recognition',
    'describe_settings',
    'duplicates_to_json',
    'find_duplicates',
    'fingerprint_of',
    'format_duplicates',
    'format_recognition',
    'knn_vote',
    'near_threshold',
    'number_labels',
    'prototypes',
    'read_checklist',
    'read_names',
    'read_settings',
    'read_taxonomy',
    'recognition_to_json',
    'similarities',
    'store_settings',
    'tune',
]
