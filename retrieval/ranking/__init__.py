"""Better rankings of hits that a search has found: re-ranking, query expansion, database-side augmentation."""

from .expansion import augment_database, expand
from .method_options import describe_options, fit_options, parse_options
from .patch_regions import fit_patch_whitening, match_patches, region_similarity, whiten_patches
from .reciprocal import k_reciprocal_distances
from .reranking import METHODS, check_method, rerank

__all__ = [
    'METHODS',
    'augment_database',
    'check_method',
    'describe_options',
    'expand',
    'fit_options',
    'fit_patch_whitening',
    'k_reciprocal_distances',
    'match_patches',
    'parse_options',
    'region_similarity',
    'rerank',
    'whiten_patches',
]
