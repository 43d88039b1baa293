"""Images that a gallery has twice: equal files, and embeddings that are almost equal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RetrievalError
from ..hits import RangeHits
from .groups import Groups

if TYPE_CHECKING:
    from ..gallery import Record
    from ..gallery.contract import GalleryReader

_BATCH = 256
_READ = 10_000


@dataclass(frozen=True)
class DuplicateGroup:
    """Images that are the same, or nearly.

    Attributes:
        kind: ``'equal'``: files with the same bytes; ``'similar'``: connected by similar embeddings.
        records: Two or more, by ascending id.
    """

    kind: str
    records: list[Record]


def find_duplicates(
    gallery: GalleryReader,
    threshold: float | None = None,
    *,
    space: str | None = None,
    where: Any = None,
) -> list[DuplicateGroup]:
    """Groups of images that are in a gallery more than once.

    Equal files are found by their content hashes. Similar images are found by a range search with every row: two rows
    whose similarity reaches the threshold are connected, and a group is all that is connected, so its ends may be less
    alike than the threshold. Memory is a batch of rows with its hits; nothing compares all pairs at once.

    Args:
        gallery: Any object with the interface of :mod:`retrieval.gallery`.
        threshold: Least cosine similarity or inner product, or for ``'l2'`` largest squared distance, of similar
            images. Defaults to None, equal files only.
        space: Embeddings to compare. Defaults to the gallery's first.
        where: Filter; only rows that pass it are compared.

    Returns:
        Equal files first, each kind by first id. A group of similar images that are all equal files of each other is
        not listed again.

    Raises:
        RetrievalError: If the threshold is not a finite number.
    """
    if threshold is not None and not np.isfinite(threshold):
        raise RetrievalError(f'threshold must be a finite number, got {threshold}')
    ids = np.asarray(gallery.ids(where), np.int64)
    hashes = _content_numbers(gallery, ids)
    groups = [('equal', rows) for rows in _equal(hashes)]
    if threshold is not None:
        groups += [
            ('similar', rows)
            for rows in _similar(gallery, ids, threshold, space, where)
            if (hashes[rows] < 0).any() or len(np.unique(hashes[rows])) > 1
        ]
    return [DuplicateGroup(kind, gallery.records(ids[rows])) for kind, rows in groups]


def _content_numbers(gallery: GalleryReader, ids: np.ndarray) -> np.ndarray:
    """A number for each content, int64 (n,); -1 for rows without a content hash."""
    known: dict[str, int] = {}
    numbers = np.full(len(ids), -1, np.int64)
    for start in range(0, len(ids), _READ):
        for row, record in enumerate(gallery.records(ids[start : start + _READ]), start):
            if record.content_hash is not None:
                numbers[row] = known.setdefault(record.content_hash, len(known))
    return numbers


def _equal(hashes: np.ndarray) -> list[np.ndarray]:
    """Rows of each content that comes twice."""
    groups = Groups(len(hashes))
    rows = np.flatnonzero(hashes >= 0)
    rows = rows[np.argsort(hashes[rows], kind='stable')]
    same = hashes[rows[1:]] == hashes[rows[:-1]]
    groups.join(rows[:-1][same], rows[1:][same])
    return groups.members()


def _similar(
    gallery: GalleryReader, ids: np.ndarray, threshold: float, space: str | None, where: Any
) -> list[np.ndarray]:
    """Rows of each connected group; ids ascend."""
    groups = Groups(len(ids))
    for start in range(0, len(ids), _BATCH):
        batch = np.arange(start, min(start + _BATCH, len(ids)))
        hits: RangeHits = gallery.range_search(
            gallery.vectors(ids[batch], space), threshold, space=space, where=where, transformed=True
        )
        groups.join(np.repeat(batch, np.diff(hits.limits)), np.asarray(np.searchsorted(ids, hits.ids), np.int64))
    return groups.members()
