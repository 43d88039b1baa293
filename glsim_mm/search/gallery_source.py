"""Rows of a gallery as images that another model encodes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from retrieval.errors import RetrievalError
from retrieval.gallery import Change, ChangeSet, GalleryReader, Manifest, Roots, open_gallery
from retrieval.gallery.history import numbered_history
from retrieval.gallery.roots import Moves, moved_origin

from ..images.photos import ImageItem
from .items import ItemList

_AT_ONCE = 4096


class GallerySource(NamedTuple):
    """The rows of one state of a gallery: images with their paths, labels, splits and metadata, ids and content hashes.

    ``manifest`` and ``history`` say what the gallery was then, with its roots where they lie now, ``location`` where it
    is.
    """

    location: str
    images: ItemList
    ids: np.ndarray
    hashes: list[str | None]
    manifest: Manifest
    history: list[tuple[ChangeSet, list[Change]]]

    @property
    def listing(self) -> str:
        """A hash that tells states apart."""
        digest = hashlib.sha256(self.ids.tobytes())
        for item, content_hash in zip(self.images.items, self.hashes):
            facts = [item.path, item.label, item.split, item.metadata, content_hash]
            digest.update(json.dumps(facts, default=str).encode())
        return digest.hexdigest()

    def has_changed(self) -> bool:
        """Whether others have written to the gallery since."""
        with open_gallery(self.location) as gallery:
            return gallery.manifest.generation != self.manifest.generation


def read_gallery_source(location: str | Path, root: Moves = None) -> GallerySource:
    """The rows of a gallery, read in one state, while others may write to it.

    Args:
        location: Of the gallery, which is opened for reading.
        root: Where photos of its roots lie, if elsewhere than it says.

    Raises:
        RetrievalError: If it has no rows, cannot be opened, or has no such root.
    """
    with open_gallery(location) as gallery:
        state = gallery.snapshot()
        manifest, ids = state.manifest, state.ids()
        if not len(ids):
            raise RetrievalError(f'{location} has no rows to encode')
        manifest.origin = moved_origin(manifest.origin, root)
        roots = Roots.of(manifest.origin)
        items, hashes = _read_rows(state, ids, roots)
        history = list(numbered_history([state]))
    listed = (tuple(json.loads(manifest.origin.get(name) or '[]')) for name in ('sources', 'exclude'))
    return GallerySource(str(location), ItemList(items, roots, *listed), ids, hashes, manifest, history)


def _read_rows(gallery: GalleryReader, ids: np.ndarray, roots: Roots) -> tuple[list[ImageItem], list[str | None]]:
    items: list[ImageItem] = []
    hashes: list[str | None] = []
    for start in range(0, len(ids), _AT_ONCE):  # in blocks, because records carry similarity maps
        for record in gallery.records(ids[start : start + _AT_ONCE]):
            facts = record.path, record.label, record.split, dict(record.metadata)
            items.append(ImageItem(roots.file(record.path), *facts))
            hashes.append(record.content_hash)
    return items, hashes
