"""Better rankings of hits that a search has found: re-ranking, query expansion, database-side augmentation."""

from .expansion import augment_database, expand
from .patch_whitening import fit_patch_whitening, whiten_patches
from .reciprocal import k_reciprocal_distances
from .regions import region_similarity
from .rerank import METHODS, rerank

__all__ = [
    'METHODS',
    'augment_database',
    'expand',
    'fit_patch_whitening',
    'k_reciprocal_distances',
    'region_similarity',
    'rerank',
    'whiten_patches',
]
