"""Patches that GLSim selected: whitened, without which they are too alike, and matched between two images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import RetrievalError
from ..gallery.contract import GalleryReader
from ..hits import PatchMatch
from ..whitening import Whitening

_PATCHES_PER_DIMENSION = 4
_BLOCK_BYTES = 64 << 20


def fit_patch_whitening(
    gallery: GalleryReader, dimension: int | None = None, num_images: int = 1000, seed: int = 0
) -> Whitening:
    """Learn a PCA-whitening of patch tokens from those that a gallery keeps; no labels are needed.

    Patches that GLSim selects are those most similar to the CLS token, so they have a large part in common. Whitening
    takes it away, and gives rare directions the weight of frequent ones. The result is for :func:`whiten_patches`, and
    the option ``whitening`` of :func:`retrieval.ranking.rerank`.

    Args:
        gallery: A gallery that keeps patches.
        dimension: Width of whitened patches; None for two thirds of the patches' own, or fewer in a gallery with less
            than 4 patches for each dimension.
        num_images: Number of images to learn from at most, drawn at random.
        seed: Seed of the draw.

    Raises:
        RetrievalError: If the gallery keeps no patches, or too few for the dimension.
    """
    ids = np.asarray(gallery.ids(), np.int64)
    if len(ids) > num_images:
        ids = np.sort(np.random.default_rng(seed).choice(ids, num_images, replace=False))
    patches = gallery.patches(ids) if len(ids) else None
    if patches is None:
        raise RetrievalError(
            'the gallery keeps no patches: build it with --keep-patches (in Python, keep_patches=True)'
        )
    tokens = patches.reshape(-1, patches.shape[-1]).astype(np.float32)
    tokens = tokens[tokens.any(axis=1)]
    if dimension is None:
        dimension = max(1, min(2 * tokens.shape[1] // 3, len(tokens) // _PATCHES_PER_DIMENSION))
    return Whitening.fit(tokens, dimension)


def whiten_patches(patches: np.ndarray, whitening: Whitening) -> np.ndarray:
    """Whiten patch tokens (..., C) with what :func:`fit_patch_whitening` has learned: float32 (..., D).

    Patches of zeros stay zeros, similar to nothing. RetrievalError if the whitening is for patches of another width.
    """
    tokens = np.asarray(patches).reshape(-1, patches.shape[-1]).astype(np.float32)
    whitened = np.zeros((len(tokens), whitening.output_dimension), np.float32)
    filled = tokens.any(axis=1)
    if filled.any():
        whitened[filled] = whitening.apply(tokens[filled])
    return whitened.reshape(*patches.shape[:-1], whitening.output_dimension)


def region_similarity(queries: np.ndarray, candidates: np.ndarray, present: np.ndarray | None = None) -> np.ndarray:
    """Mean cosine similarity of the patches of each query to their best matches in each candidate, and back.

    Whiten patches first (:func:`retrieval.ranking.whiten_patches`): as the model gives them they make rankings worse.

    Args:
        queries: float16 or float32, (m, O, C), patch tokens of each query's region.
        candidates: float16 or float32, (m, r, P, C), those of its candidates.
        present: bool, (m, r), which candidates there are; None for all.

    Returns:
        float32, (m, r), -1 to 1, the larger the better; -inf where there is no candidate.
    """
    queries, candidates = np.asarray(queries), np.asarray(candidates)
    if queries.ndim != 3 or candidates.ndim != 4 or 0 in queries.shape[1:] or 0 in candidates.shape[2:]:
        raise RetrievalError(f'patches must be (m, O, C) and (m, r, P, C), got {queries.shape} and {candidates.shape}')
    if len(queries) != len(candidates) or queries.shape[2] != candidates.shape[3]:
        raise RetrievalError(
            f'patches of queries {queries.shape} and candidates {candidates.shape} do not belong together: encode both '
            'with the same model'
        )
    m, r, p, c = candidates.shape
    result = np.empty((m, r), np.float32)
    step = max(1, _BLOCK_BYTES // max(1, 4 * r * p * (c + queries.shape[1])))
    for start in range(0, m, step):
        block = slice(start, start + step)
        query, other = queries[block], candidates[block]
        cosines = _cosines(other.reshape(len(other), r * p, c), query).reshape(len(other), r, p, query.shape[1])
        result[block] = (cosines.max(axis=3).mean(axis=2) + cosines.max(axis=2).mean(axis=2)) / 2
    return result if present is None else np.where(present, result, -np.inf).astype(np.float32)


def match_patches(
    query: np.ndarray,
    query_boxes: Sequence[Sequence[float]] | None,
    candidate: np.ndarray,
    boxes: Sequence[Sequence[float]] | None,
    whitening: Whitening | None = None,
) -> list[PatchMatch]:
    """Which patches of a query and of a hit :func:`region_similarity` compares, the most similar first.

    The sum of ``weight * similarity`` over all of them is that similarity, so that they explain the score of the
    re-ranking by regions. Each patch of either image is in at least one, with the patch of the other that it is like.

    Args:
        query, candidate: float16 or float32, (O, C) and (P, C), patch tokens of both.
        query_boxes, boxes: Where they lie, (O, 4) and (P, 4), :attr:`retrieval.records.Record.patch_boxes`; None where
            that is not known.
        whitening: What :func:`fit_patch_whitening` has learned, as it was given to the re-ranking.

    Raises:
        RetrievalError: If the arrays do not belong together.
    """
    query, candidate = np.asarray(query), np.asarray(candidate)
    if query.ndim != 2 or candidate.ndim != 2 or query.shape[1] != candidate.shape[1] or 0 in query.shape:
        raise RetrievalError(f'patches must be (O, C) and (P, C) of one model, got {query.shape} and {candidate.shape}')
    for name, tokens, places in (('query_boxes', query, query_boxes), ('boxes', candidate, boxes)):
        if places is not None and len(places) != len(tokens):
            raise RetrievalError(f'{name} must be one for each of {len(tokens)} patches, got {len(places)}')
    if whitening is not None:
        query, candidate = whiten_patches(query, whitening), whiten_patches(candidate, whitening)
    cosines = _cosines(query[None], candidate[None])[0]
    weights = np.zeros_like(cosines)
    weights[np.arange(len(query)), cosines.argmax(axis=1)] += 0.5 / len(query)
    weights[cosines.argmax(axis=0), np.arange(len(candidate))] += 0.5 / len(candidate)
    pairs = np.argwhere(weights > 0)
    order = np.argsort(-cosines[tuple(pairs.T)], kind='stable')
    return [
        PatchMatch(
            float(np.clip(cosines[one, other], -1, 1)),
            float(weights[one, other]),
            None if query_boxes is None else tuple(map(float, query_boxes[one])),
            None if boxes is None else tuple(map(float, boxes[other])),
            one,
            other,
        )
        for one, other in pairs[order].tolist()
    ]


def _cosines(patches: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Cosine similarities, (m, p, o), of patches (m, p, C) and others (m, o, C)."""
    return _unit(patches) @ _unit(others).swapaxes(1, 2)


def _unit(patches: np.ndarray) -> np.ndarray:
    """Patches of length 1, float32; a patch of zeros stays one, similar to nothing."""
    patches = patches.astype(np.float32)
    lengths = np.linalg.norm(patches, axis=-1, keepdims=True)
    return patches / np.where(lengths > 0, lengths, 1)
