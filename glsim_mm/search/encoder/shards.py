"""Galleries in which a build keeps what it has encoded until all of it is there, one for each process."""

import re
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from retrieval.errors import RetrievalError
from retrieval.gallery import Fingerprint, GalleryReader, GalleryWriter, create_gallery, open_gallery

from .encoded import Encoded, join_encoded, sort_encoded

SECONDS_BETWEEN_COMMITS = 30.0
ROWS_BETWEEN_COMMITS = 8192
_HASHES_AT_ONCE = 10_000
_GALLERY_FILE = 'gallery.sqlite'
_SHARD = re.compile(r'shard-\d+')  # not one that was being made when its process was killed


@dataclass(frozen=True)
class ShardSettings:
    """What the shards of one build have in common; shards of other settings cannot be resumed.

    Attributes:
        spaces: Dimension of each space.
        metric: See :data:`retrieval.vectors.METRICS`.
        fingerprint: Of the model.
        num_patches: Patches that are kept of each image.
    """

    spaces: dict[str, int]
    metric: str
    fingerprint: Fingerprint
    num_patches: int = 0


class Place(NamedTuple):
    """Where an embedding is: the number of the shard and the id in it."""

    shard: int
    id: int


class ShardWriter:
    """Adds embeddings to a shard, some thousand at a time; what was committed survives a kill.

    Args:
        gallery: The shard, writable.
        seconds: Commit when so much time has passed. Defaults to 30.
        rows: Commit when so many images wait. Defaults to 8192.
    """

    def __init__(
        self, gallery: GalleryWriter, seconds: float = SECONDS_BETWEEN_COMMITS, rows: int = ROWS_BETWEEN_COMMITS
    ) -> None:
        self._gallery = gallery
        self._seconds = seconds
        self._rows = rows
        self._waiting: list[Encoded] = []
        self._count = 0
        self._last = time.monotonic()

    def add(self, encoded: Encoded) -> None:
        """Take images; they are committed with later ones."""
        if not len(encoded):
            return
        # Paths, labels and metadata come with the images at the end; here they would only fill the disk.
        bare = [replace(record, label=None, split=None, metadata={}) for record in encoded.records]
        self._waiting.append(replace(encoded, records=bare))
        self._count += len(encoded)
        if self._count >= self._rows or time.monotonic() - self._last >= self._seconds:
            self.commit()

    def commit(self) -> None:
        """Write what waits."""
        if self._waiting:
            everything = join_encoded(self._waiting)
            self._gallery.add(everything.embeddings, everything.records, patches=everything.patches)
        self._waiting, self._count = [], 0
        self._last = time.monotonic()


def open_shard(folder: Path, rank: int, settings: ShardSettings) -> GalleryWriter:
    """A rank's own shard, to write to.

    Args:
        folder: Of the build.
        rank: From 0.
        settings: Of the build.

    Returns:
        Writable; new if there is none.

    Raises:
        RetrievalError: If another process writes to it.
    """
    path = folder / f'shard-{rank:05d}'
    if (path / _GALLERY_FILE).exists():
        return open_gallery(path, writable=True)
    shutil.rmtree(path, ignore_errors=True)  # a kill before the first commit
    return create_gallery(
        path,
        settings.spaces,
        metric=settings.metric,
        preset='flat',
        fingerprint=settings.fingerprint,
        origin=dict(patches=str(settings.num_patches)),
    )


def open_shards(folder: Path, settings: ShardSettings) -> list[GalleryReader]:
    """All shards of a build, to read.

    Args:
        folder: Of the build.
        settings: Of the build.

    Returns:
        In order of their names.

    Raises:
        RetrievalError: If a shard is of another model, or has other spaces.
    """
    shards = []
    for path in sorted(folder.glob('shard-*')):
        if _SHARD.fullmatch(path.name) and (path / _GALLERY_FILE).exists():
            shard = open_gallery(path)
            _check_settings(shard, settings, folder)
            shards.append(shard)
    return shards


def find_places(shards: Sequence[GalleryReader], hashes: Iterable[str]) -> dict[str, Place]:
    """Where embeddings are, by the hash of the content of their files.

    Args:
        shards: Of a build.
        hashes: SHA-256, hexadecimal.

    Returns:
        Of those that were encoded.
    """
    wanted = sorted(set(hashes))
    places: dict[str, Place] = {}
    for number, shard in enumerate(shards):
        for start in range(0, len(wanted), _HASHES_AT_ONCE):
            found = shard.find_hashes(wanted[start : start + _HASHES_AT_ONCE])
            places.update({content_hash: Place(number, row) for content_hash, row in found.items()})
    return places


def read_places(shards: Sequence[GalleryReader], places: Sequence[Place], with_patches: bool) -> Encoded:
    """Embeddings and records from several shards.

    Args:
        shards: Of a build.
        places: At least one.
        with_patches: Read patches too.

    Returns:
        In the order of the places.
    """
    numbers = np.array([place.shard for place in places])
    ids = np.array([place.id for place in places], np.int64)
    parts = []
    for number in np.unique(numbers):
        chosen = np.flatnonzero(numbers == number)
        shard, rows = shards[number], ids[chosen]
        embeddings = {space: shard.vectors(rows, space) for space in shard.manifest.spaces}
        patches = shard.patches(rows) if with_patches else None
        parts.append(Encoded(embeddings, shard.records(rows), chosen, patches))
    return sort_encoded(join_encoded(parts))


def _check_settings(shard: GalleryReader, settings: ShardSettings, folder: Path) -> None:
    manifest = shard.manifest
    found: Mapping[str, object] = {
        'model': manifest.fingerprint is not None and not manifest.fingerprint.differences(settings.fingerprint),
        'spaces': dict(manifest.spaces),
        'metric': manifest.metric,
        'number of patches': manifest.origin.get('patches', '0'),
    }
    wanted = {
        'model': True,
        'spaces': settings.spaces,
        'metric': settings.metric,
        'number of patches': str(settings.num_patches),
    }
    differing = [name for name, value in wanted.items() if found[name] != value]
    if differing:
        raise RetrievalError(
            f'{folder} holds an unfinished build with another {" and another ".join(differing)}: finish it with the '
            'settings that it was begun with, or remove that folder'
        )
