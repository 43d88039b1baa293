"""How good a search is: recall, R-Precision, MAP@R and mAP of embeddings, rankings and galleries."""

from .evaluation_report import ClassScores, RetrievalReport, format_report
from .gallery_evaluation import evaluate_gallery, evaluate_locations
from .labels import unseen_classes
from .ranking_scores import evaluate_embeddings, evaluate_ranking

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
