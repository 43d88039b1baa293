"""Database-side augmentation of a gallery, with the gallery's own index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import RetrievalError
from .expansion import expand, without_own

if TYPE_CHECKING:
    from ..gallery.interface import GalleryInterface
    from ..whitening import Whitening

_BATCH = 1024


def augmented_vectors(
    gallery: GalleryInterface,
    ids: np.ndarray,
    space: str | None = None,
    num_neighbors: int = 10,
    alpha: float = 0.0,
) -> np.ndarray:
    """Vectors of gallery rows, each expanded by its nearest neighbours in the gallery.

    Source: Arandjelovic and Zisserman, Three things everyone should know, CVPR 2012.

    Args:
        ids: int64, (n,).
        space: Which embeddings. Defaults to the gallery's first.
        num_neighbors: Neighbours of each besides itself, >= 0.
        alpha: See :func:`retrieval.ranking.expand`.

    Returns:
        float32, (n, d); unit length for cosine.

    Raises:
        RetrievalError: If an argument is out of range, or an id is not in the gallery.
    """
    if num_neighbors < 0:
        raise RetrievalError(f'num_neighbors must be at least 0, got {num_neighbors}')
    vectors = gallery.vectors(ids, space)
    hits = gallery.search(vectors, num_neighbors + 1, space=space, transformed=True)
    found = without_own(hits.ids, np.asarray(ids))
    present = found >= 0
    neighbors = np.zeros((*found.shape, vectors.shape[1]), np.float32)
    numbers, places = np.unique(found[present], return_inverse=True)
    if len(numbers):
        neighbors[present] = gallery.vectors(numbers, space)[places]
    return expand(vectors, neighbors, alpha, present, unit=gallery.manifest.metric == 'cosine')


def augment_gallery(
    source: GalleryInterface,
    location: str | Path,
    space: str | None = None,
    name: str | None = None,
    num_neighbors: int = 10,
    alpha: float = 0.0,
) -> None:
    """Write a gallery with one more space: the augmented vectors of one of its spaces.

    It has the rows, ids, records and patches of ``source``. Ask the new space with the embeddings of ``space``:
    ``gallery.search({'global+dba': embeddings}, space='global+dba')``. Rows that are added later need an augmented
    vector too; those that are there do not change.

    Args:
        location: Folder to write; must not be there yet.
        space: What to augment. Defaults to the gallery's first.
        name: Of the new space. Defaults to ``space`` with ``_dba`` behind.
        num_neighbors: See :func:`augmented_vectors`.

    Raises:
        RetrievalError: If the space is not there, the name is taken, the location is, or a space is whitened and the
            gallery has no property ``transforms`` that says how.
    """
    from ..gallery import create_gallery

    manifest = source.manifest
    space = space or next(iter(manifest.spaces))
    name = name or f'{space}_dba'
    if space not in manifest.spaces:
        raise RetrievalError(f'the gallery has no space {space!r}; it has {", ".join(manifest.spaces)}')
    if name in manifest.spaces:
        raise RetrievalError(f'the gallery has a space {name!r} already; give the new one another name')
    spaces = {**manifest.spaces, name: manifest.spaces[space]}
    transforms = _whitenings(source)
    if space in transforms:
        transforms[name] = transforms[space]
    with create_gallery(
        location,
        spaces,
        metric=manifest.metric,
        preset=manifest.preset,
        fingerprint=manifest.fingerprint,
        transforms=transforms,
        origin=manifest.origin,
    ) as target:
        for ids in _batches(source.ids()):
            embeddings = {one: source.vectors(ids, one) for one in manifest.spaces}
            embeddings[name] = augmented_vectors(source, ids, space, num_neighbors, alpha)
            target.add(embeddings, source.records(ids), ids, source.patches(ids), transformed=True)


def _whitenings(gallery: GalleryInterface) -> dict[str, Whitening]:
    """Whitening of each space that has one."""
    found = dict(getattr(gallery, 'transforms', None) or {})
    for name, dimension in gallery.manifest.spaces.items():
        if gallery.manifest.input_dimensions.get(name, dimension) != dimension and name not in found:
            raise RetrievalError(
                f'the gallery whitens {name!r} and does not give its whitening: use augmented_vectors instead'
            )
    return found


def _batches(ids: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(ids), _BATCH):
        yield ids[start : start + _BATCH]
