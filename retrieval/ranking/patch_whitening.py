"""Whitening of patch tokens, without which they are too alike to be told from each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import RetrievalError
from ..whitening import Whitening

if TYPE_CHECKING:
    from ..gallery.contract import GalleryReader

_PATCHES_PER_DIMENSION = 4


def fit_patch_whitening(
    gallery: GalleryReader, dimension: int | None = None, num_images: int = 1000, seed: int = 0
) -> Whitening:
    """Learn a PCA-whitening of patch tokens from those that a gallery keeps; no labels are needed.

    Patches that GLSim selects are those most similar to the CLS token, so they have a large part in common. Whitening
    takes it away, and gives rare directions the weight of frequent ones.

    Args:
        gallery: That keeps patches.
        dimension: Width of whitened patches. Defaults to two thirds of the patches' own, or fewer in a gallery with
            less than 4 patches for each dimension.
        num_images: So many images at most, drawn at random.
        seed: Of the draw.

    Returns:
        For :func:`whiten_patches`, and the option ``whitening`` of :func:`retrieval.ranking.rerank`.

    Raises:
        RetrievalError: If the gallery keeps no patches, or too few for the dimension.
    """
    ids = np.asarray(gallery.ids(), np.int64)
    if len(ids) > num_images:
        ids = np.sort(np.random.default_rng(seed).choice(ids, num_images, replace=False))
    patches = gallery.patches(ids) if len(ids) else None
    if patches is None:
        raise RetrievalError('the gallery keeps no patches: build it with keep_patches=True')
    tokens = patches.reshape(-1, patches.shape[-1]).astype(np.float32)
    tokens = tokens[tokens.any(axis=1)]
    if dimension is None:
        dimension = max(1, min(2 * tokens.shape[1] // 3, len(tokens) // _PATCHES_PER_DIMENSION))
    return Whitening.fit(tokens, dimension)


def whiten_patches(patches: np.ndarray, whitening: Whitening) -> np.ndarray:
    """Whiten patch tokens.

    Args:
        patches: float16 or float32, (..., C).
        whitening: See :func:`fit_patch_whitening`.

    Returns:
        float32, (..., D). Patches of zeros stay zeros, similar to nothing.

    Raises:
        RetrievalError: If the whitening is for patches of another width.
    """
    tokens = np.asarray(patches).reshape(-1, patches.shape[-1]).astype(np.float32)
    whitened = np.zeros((len(tokens), whitening.output_dimension), np.float32)
    filled = tokens.any(axis=1)
    if filled.any():
        whitened[filled] = whitening.apply(tokens[filled])
    return whitened.reshape(*patches.shape[:-1], whitening.output_dimension)
