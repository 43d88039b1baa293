"""Copying a gallery from one place to another, as between a folder and Milvus."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .errors import RetrievalError
from .gallery.backends import create_gallery, gallery_exists, open_gallery
from .gallery.contract import GalleryReader, GalleryWriter
from .gallery.history import numbered_history

SAMPLE = 1000
_logger = logging.getLogger(__name__)


class Migration(NamedTuple):
    """What a migration did.

    Example:
        >>> print(migrate('gallery', 'milvus://localhost/birds').describe())

    Attributes:
        rows: Rows of the source, and now of the target.
        copied: Rows copied this time; the others were there.
        compared: Rows whose vectors, records and patches were read back and are equal.
    """

    rows: int
    copied: int
    compared: int

    def describe(self) -> str:
        """One line for a person."""
        return (
            f'{self.copied} rows copied, {self.rows - self.copied} were there; all {self.rows} ids are in the target, '
            f'{self.compared} rows compared and equal'
        )


def migrate(
    source: str | Path | Sequence[str | Path], target: str | Path, *, preset: str = 'auto', batch_size: int = 1000
) -> Migration:
    """Copy a gallery with ids, vectors, records, patches, whitenings and history, and check the copy.

    A migration that broke off goes on where it stopped: rows whose ids the target has are not sent again. At the end
    the ids of both are compared, and up to 1000 rows of each source, evenly spread, are read back and compared in full.

    Args:
        source: Folder or ``milvus://...``; or several, the shards of a gallery, of one model and without common ids.
        target: The same, of one gallery; it is made if it is not there.
        preset: Index of a target that is made.
        batch_size: Rows copied at a time.

    Raises:
        RetrievalError: If sources do not belong together, the target is another gallery, or differs at the end.
    """
    if batch_size < 1:
        raise RetrievalError(f'batch_size must be at least 1, got {batch_size}')
    sources = [source] if isinstance(source, str | Path) else list(source)
    if not sources:
        raise RetrievalError('name at least one gallery to migrate')
    with ExitStack() as stack:
        origins = [stack.enter_context(open_gallery(one)) for one in sources]
        for one, origin in zip(sources[1:], origins[1:]):
            _check_alike(one, origin, origins[0], 'migrate it alone')
        parts = [origin.ids() for origin in origins]
        ids = np.sort(np.concatenate(parts))
        if (ids[1:] == ids[:-1]).any():
            raise RetrievalError(
                f'id {ids[1:][ids[1:] == ids[:-1]][0]} is in several sources: give their rows other ids'
            )
        copy = stack.enter_context(_open_target(origins[0], target, preset, len(ids)))
        there = copy.ids()
        foreign = np.setdiff1d(there, ids)
        if len(foreign):
            raise RetrievalError(
                f'{target} has {len(foreign)} rows that the source has not, such as id {foreign[0]}: migrate to a new '
                'place'
            )
        compared = sum(_copy_and_check(origin, copy, own, there, batch_size) for origin, own in zip(origins, parts))
        if not np.array_equal(copy.ids(), ids):
            raise RetrievalError(f'{target} or its source was changed meanwhile: migrate again')
        copy.copy_history(numbered_history(origins))
        if len(there) < len(ids):
            copy.compact()
    return Migration(len(ids), len(ids) - len(there), compared)


def _copy_and_check(
    origin: GalleryReader, copy: GalleryWriter, ids: np.ndarray, there: np.ndarray, batch_size: int
) -> int:
    """Copy the rows that are not there and compare a sample of all; returns its size."""
    missing = np.setdiff1d(ids, there)
    done = 0
    for part in _parts(missing, batch_size):
        vectors = {space: origin.vectors(part, space) for space in origin.manifest.spaces}
        copy.add(vectors, origin.records(part), part, origin.patches(part), transformed=True)
        done += len(part)
        _logger.info('%d of %d rows copied', done, len(missing))
    sample = ids[np.unique(np.linspace(0, len(ids) - 1, min(SAMPLE, len(ids))).astype(np.int64))]
    for part in _parts(sample, 100):
        _check_copy(origin, copy, part)
    return len(sample)


def _open_target(origin: GalleryReader, target: str | Path, preset: str, count: int) -> GalleryWriter:
    manifest = origin.manifest
    if gallery_exists(target):
        copy = open_gallery(target, writable=True)
        try:
            _check_alike(target, copy, origin, 'migrate to a new place')
        except RetrievalError:
            copy.close()
            raise
        return copy
    return create_gallery(
        target,
        manifest.spaces,
        metric=manifest.metric,
        preset=preset,
        fingerprint=manifest.fingerprint,
        transforms=origin.transforms,
        origin=manifest.origin,
        expected_rows=count,
    )


def _check_alike(location: str | Path, gallery: GalleryReader, origin: GalleryReader, advice: str) -> None:
    manifest, other = gallery.manifest, origin.manifest
    for name in ('metric', 'spaces', 'input_dimensions'):
        if getattr(manifest, name) != getattr(other, name):
            raise RetrievalError(f'{location} is another gallery, its {name} differs: {advice}')
    prints = [{space: one.fingerprint for space, one in each.transforms.items()} for each in (gallery, origin)]
    if prints[0] != prints[1]:
        raise RetrievalError(f'{location} is another gallery, its whitening or learned metric differs: {advice}')
    one, two = manifest.fingerprint, other.fingerprint
    if (one is None) != (two is None) or (one is not None and two is not None and one.differences(two)):
        raise RetrievalError(f'{location} was made by another model: {advice}')


def _check_copy(origin: GalleryReader, copy: GalleryReader, ids: np.ndarray) -> None:
    """RetrievalError if rows of the copy are not what they are in the source."""
    for space in origin.manifest.spaces:
        if not np.allclose(copy.vectors(ids, space), origin.vectors(ids, space), rtol=1e-6, atol=1e-6):
            raise RetrievalError(f'vectors of {space} differ between source and copy: migrate to a new place')
    first, second = copy.patches(ids), origin.patches(ids)
    if (first is None) != (second is None) or (first is not None and not np.array_equal(first, second)):
        raise RetrievalError('patches differ between source and copy: migrate to a new place')
    for one, other in zip(copy.records(ids), origin.records(ids)):
        if not all(np.array_equal(value, getattr(other, name)) for name, value in vars(one).items()):
            raise RetrievalError(f'row {one.id} differs between source and copy: migrate to a new place')


def _parts(ids: np.ndarray, size: int) -> list[np.ndarray]:
    return [ids[start : start + size] for start in range(0, len(ids), size)]
