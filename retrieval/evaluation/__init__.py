"""How good a search is: recall, R-Precision, MAP@R and mAP of embeddings, rankings and galleries."""

from .embeddings import evaluate_embeddings
from .gallery import evaluate_gallery
from .labels import unseen_classes
from .locations import evaluate_locations
from .query_scores import evaluate_ranking
from .report import ClassScores, RetrievalReport
from .report_text import format_report

__all__ = [
    'ClassScores',
    'RetrievalReport',
    'evaluate_embeddings',
    'evaluate_gallery',
    'evaluate_locations',
    'evaluate_ranking',
    'format_report',
    'unseen_classes',
]
