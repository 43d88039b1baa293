"""The vectors that a re-ranking compares, taken from a gallery a block of queries at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import RetrievalError
from ..hits import Hits
from ..vectors import check_embeddings, unit_length

if TYPE_CHECKING:
    from ..gallery.contract import GalleryReader

BLOCK_BYTES = 128 << 20

Space = str | Mapping[str, float] | None
Queries = np.ndarray | Mapping[str, np.ndarray]


class Candidates(NamedTuple):
    """A block of b queries and the r candidates of each.

    Attributes:
        rows: Which queries.
        queries: float32, (b, d).
        vectors: float32, (b, r, d); zeros where there is no candidate.
        present: bool, (b, r).
        ids: int64, (b, r); -1 where there is none.
        scores: float32, (b, r), of the search.
    """

    rows: slice
    queries: np.ndarray
    vectors: np.ndarray
    present: np.ndarray
    ids: np.ndarray
    scores: np.ndarray


def space_weights(gallery: GalleryReader, space: Space) -> dict[str, float]:
    """Spaces that a search compares, with their weights.

    Args:
        space: As in the gallery's ``search``: None for its first.

    Returns:
        Weight of each.

    Raises:
        RetrievalError: If the gallery has no such space.
    """
    spaces = list(gallery.manifest.spaces)
    weights = {spaces[0]: 1.0} if space is None else {space: 1.0} if isinstance(space, str) else dict(space)
    for name in weights:
        if name not in spaces:
            raise RetrievalError(f'the gallery has no space {name!r}; it has {", ".join(spaces)}')
    return weights


def query_embeddings(
    gallery: GalleryReader, queries: Queries, space: Space, transformed: bool = False
) -> dict[str, np.ndarray]:
    """Queries of each space that is compared.

    Args:
        queries: float32, (m, d), or one such array for each space.
        space: See :func:`space_weights`.
        transformed: Queries are as the gallery stores them. Defaults to False: as the model gives them.

    Returns:
        float32, (m, d), of each; unit length for cosine.

    Raises:
        RetrievalError: If a space has no queries or they do not fit.
    """
    names = list(space_weights(gallery, space))
    if not isinstance(queries, Mapping):
        if len(names) != 1:
            raise RetrievalError(f'spaces {", ".join(names)} need queries of each: give a dict of arrays')
        queries = {names[0]: queries}
    if missing := [name for name in names if name not in queries]:
        raise RetrievalError(f'there are no queries for space {missing[0]!r}; encode them with it')
    found = {
        name: check_embeddings(
            queries[name] if transformed else gallery.transform(queries[name], name),
            f'queries of {name}',
            gallery.manifest.spaces[name],
        )
        for name in names
    }
    cosine = gallery.manifest.metric == 'cosine'
    return {name: unit_length(array, f'queries of {name}') if cosine else array for name, array in found.items()}


def fuse(arrays: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """One vector of several spaces, whose inner products and squared distances are the weighted sums of theirs.

    Args:
        arrays: float32, (..., d) of each space.
        weights: >= 0, of each space.

    Returns:
        float32, (..., sum of d).
    """
    if min(weights.values()) < 0:
        raise RetrievalError(f'weights of spaces must not be negative to re-rank by them, got {dict(weights)}')
    return np.concatenate([np.float32(weights[name] ** 0.5) * arrays[name] for name in weights], axis=-1)


def blocks(
    gallery: GalleryReader,
    queries: Mapping[str, np.ndarray],
    hits: Hits,
    weights: Mapping[str, float],
    more_bytes: int = 0,
) -> Iterator[Candidates]:
    """Candidates with their vectors, as many queries at a time as fit into 128 MiB.

    Args:
        queries: See :func:`query_embeddings`.
        hits: (m, r), what to re-rank.
        weights: Of each space.
        more_bytes: What a method needs for each candidate besides its vector.

    Yields:
        Of the next block.
    """
    fused = fuse(queries, weights)
    m, r = hits.ids.shape
    step = max(1, BLOCK_BYTES // (max(1, r) * (4 * fused.shape[1] + more_bytes)))
    for start in range(0, m, step):
        rows = slice(start, min(start + step, m))
        ids = hits.ids[rows]
        present = ids >= 0
        vectors = np.zeros((*ids.shape, fused.shape[1]), np.float32)
        numbers, places = np.unique(ids[present], return_inverse=True)
        if len(numbers):
            vectors[present] = fuse({name: gallery.vectors(numbers, name) for name in weights}, weights)[places]
        yield Candidates(rows, fused[rows], vectors, present, ids, hits.scores[rows])
