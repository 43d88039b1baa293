"""Why hits were found: which of their patches are like which patches of the query."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from retrieval.answers import SearchResult
from retrieval.errors import RetrievalError
from retrieval.gallery import GalleryReader, Record, Roots
from retrieval.gallery.roots import Moves
from retrieval.ranking import match_patches
from retrieval.whitening import Whitening

from ..images.photos import is_address
from .base_encoder import BaseEncoder
from .encoded import Encoded


class _Region(NamedTuple):
    """Patches of an image, (O, C), and their places in its photo, or why they are not known."""

    patches: np.ndarray | None = None
    boxes: Sequence[Sequence[float]] | None = None
    reason: str = ''


def keeps_patches(gallery: GalleryReader) -> bool:
    """Whether a gallery keeps the patches of its rows."""
    ids = gallery.ids()[:1]
    return len(ids) > 0 and gallery.patches(ids) is not None


def explain_hits(
    gallery: GalleryReader,
    results: Sequence[SearchResult],
    query_patches: np.ndarray | None,
    whitening: Whitening | None,
    encoder: BaseEncoder | None = None,
    root: Moves = None,
) -> None:
    """Match the patches of hits with those of their queries, see :func:`retrieval.ranking.match_patches`.

    A row whose patches, or their places, the gallery does not keep is encoded again, if its photo is still there; if
    not, :attr:`retrieval.answers.SearchHit.unexplained` says why.

    Args:
        gallery: What was searched.
        results: Their hits get ``matches``.
        query_patches: (m, O, C), those of the queries, whose records say where they lie; None for rows of the gallery.
        whitening: What the re-ranking by regions takes; None to compare patches as the model gives them.
        encoder: The model that made the gallery.
        root: Where photos of the gallery's roots lie, if elsewhere than it says.

    Raises:
        RetrievalError: If rows must be encoded again and there is no model, or it gives no patches.
    """
    records = {hit.record.id: hit.record for result in results for hit in result.hits}
    if query_patches is None:
        records.update({result.query.id: result.query for result in results})
    regions = _kept(gallery, list(records.values()))
    missing = [record for number, record in records.items() if number not in regions]
    if missing:
        if encoder is None:
            raise RetrievalError(
                f'{gallery.location} does not say where the patches of its rows lie, because it was built without '
                '--keep-patches (in Python, keep_patches=True) or by an earlier version: build it again with it, or '
                'give config and checkpoint, so that the photos are encoded again'
            )
        roots = Roots.of(gallery.manifest.origin).moved(root)
        regions.update(_encoded_again(encoder.with_patches(), missing, roots))
    for position, result in enumerate(results):
        own = regions[result.query.id] if query_patches is None else _Region(query_patches[position])
        boxes = own.boxes if query_patches is None else result.query.patch_boxes
        for hit in result.hits:
            other = regions[hit.record.id]
            if own.patches is None or other.patches is None:
                hit.unexplained = own.reason or other.reason
            else:
                hit.matches = match_patches(own.patches, boxes, other.patches, other.boxes, whitening)


def _kept(gallery: GalleryReader, records: Sequence[Record]) -> dict[int, _Region]:
    """Regions by the ids of rows whose patches, and their places, the gallery keeps."""
    known = [record for record in records if record.patch_boxes is not None]
    patches = gallery.patches([record.id for record in known]) if known else None
    if patches is None:
        return {}
    return {record.id: _Region(own, record.patch_boxes) for record, own in zip(known, patches)}


def _encoded_again(encoder: BaseEncoder, records: Sequence[Record], roots: Roots) -> dict[int, _Region]:
    """Regions of rows by their ids, from their photos."""
    files = [roots.file(record.path) for record in records]
    there = [row for row, file in enumerate(files) if is_address(file) or os.path.isfile(file)]
    found = encoder.encode([files[row] for row in there]) if there else Encoded({}, [], np.zeros(0, np.int64))
    regions = {
        record.id: _Region(reason='its photo is not there: give the folder of the photos by --root (in Python, root)')
        for record in records
    }
    for error in found.errors:
        regions[records[there[error.position]].id] = _Region(reason=f'its photo cannot be read: {error.reason}')
    kept = () if found.patches is None else found.patches
    for position, new, patches in zip(found.positions.tolist(), found.records, kept):
        old = records[there[position]]
        if old.content_hash is None or old.content_hash == new.content_hash:
            regions[old.id] = _Region(patches, new.patch_boxes)
        else:
            regions[old.id] = _Region(reason='its photo has changed since: glsim sync lets rows follow their photos')
    return regions
