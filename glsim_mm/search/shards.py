"""Small galleries, one for each process, that keep what a build has encoded until it is complete."""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from retrieval.class_metric import LearnedMetric, learn_metric, sample_rows
from retrieval.errors import RetrievalError
from retrieval.gallery import Fingerprint, GalleryReader, GalleryWriter, create_gallery, is_folder, open_gallery
from retrieval.gallery.interrupts import postponed_interrupts
from retrieval.gallery.lock import WriteLock
from retrieval.gallery.replacing import replace_folder, undo_half_replacement
from retrieval.held_out import Labeled
from retrieval.whitening import JOINT, Whitening, add_views

from ..images.photos import ImageItem
from ..progress import ProgressBar
from .encoded import Encoded, join_encoded

SECONDS_BETWEEN_COMMITS = 30.0
_ROWS_BETWEEN_COMMITS = 8192
_ROWS_AT_ONCE = 4096
_LEAST_ROWS, _ROWS_PER_DIMENSION = 20_000, 50  # that a whitening is learnt from
_GALLERY_FILE = 'gallery.sqlite'
_SHARD = re.compile(r'shard-\d+')  # not one that was being made when its process was killed


class BuildFolder:
    """The folder beside a gallery in which it is built: shards, then the merged gallery, then nothing.

    A gallery that is to be replaced stays where it is until the new one is whole.

    Args:
        location: Folder of the gallery, or its address, such as ``milvus://...``.
    """

    def __init__(self, location: str | Path) -> None:
        self.is_remote = not is_folder(location)
        self.target = str(location)
        name = re.sub(r'[^A-Za-z0-9_.-]+', '_', self.target) if self.is_remote else self.target.rstrip('/' + os.sep)
        self.path = Path(f'{name}.parts')
        self.merged = self.path / 'merged'

    @contextmanager
    def hold(self, overwrite: bool) -> Iterator[None]:
        """Keep the folder for one build at a time; it stays afterwards if it holds embeddings to go on with.

        Raises:
            RetrievalError: If there is a gallery that is not to be overwritten, something else, or another build.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RetrievalError(f'{self.path} cannot be made ({error.strerror}); choose another place') from error
        lock = WriteLock(self.path)
        lock.announce()
        try:
            if not self.is_remote:
                undo_half_replacement(Path(self.target))
                self._check_target(overwrite)
            shutil.rmtree(self.merged, ignore_errors=True)  # of a run that ended while it merged
            yield
        finally:
            lock.withdraw()
            lock.release()
            if not any(self.path.glob('shard-*')):
                shutil.rmtree(self.path)

    def finish(self) -> None:
        """Put the merged gallery in its place and remove the shards."""
        if not self.is_remote:
            target = Path(self.target)
            if target.exists():
                replace_folder(self.merged, target)
            else:
                os.replace(self.merged, target)
        for shard in list(self.path.glob('shard-*')):
            os.replace(shard, shard.with_name(f'merged-{shard.name}'))  # never a half of one, however this ends

    def _check_target(self, overwrite: bool) -> None:
        target = Path(self.target)
        if not target.exists() or (target.is_dir() and not any(target.iterdir())):
            return
        if not (target / _GALLERY_FILE).exists():
            raise RetrievalError(f'{target} exists and is no gallery: choose another place for the gallery')
        if not overwrite:
            raise RetrievalError(
                f'{target} is a gallery already: add images to it with glsim add, replace it with '
                '--overwrite (overwrite=True), or choose another place'
            )


@dataclass(frozen=True)
class ShardSettings:
    """What the shards of one build have in common; shards of other settings cannot be resumed.

    ``spaces`` are dimensions by name; ``num_patches`` are kept of each image.
    """

    spaces: dict[str, int]
    metric: str
    fingerprint: Fingerprint
    num_patches: int = 0

    def check(self, shard: GalleryReader, folder: Path) -> None:
        """Refuse a shard of another model, or with other spaces; the :class:`RetrievalError` says what differs."""
        manifest = shard.manifest
        is_same = {
            'model': manifest.fingerprint is not None and not manifest.fingerprint.differences(self.fingerprint),
            'spaces': dict(manifest.spaces) == self.spaces,
            'metric': manifest.metric == self.metric,
            'number of patches': manifest.origin.get('patches', '0') == str(self.num_patches),
        }
        differing = [name for name, same in is_same.items() if not same]
        if differing:
            raise RetrievalError(
                f'{folder} holds an unfinished build with another {" and another ".join(differing)}: finish it with '
                'the settings that it was begun with, or remove that folder'
            )


class Place(NamedTuple):
    """Where an embedding is: the number of the shard and the id in it."""

    shard: int
    id: int


class Shards:
    """All shards of a build, open for reading inside a ``with`` block.

    ::

        with Shards(folder.path, settings) as shards:
            places = shards.find(hashes)
            encoded = shards.read(list(places.values()))

    Raises:
        RetrievalError: If a shard in the folder was made with other settings.
    """

    def __init__(self, folder: Path, settings: ShardSettings) -> None:
        self.settings = settings
        self._galleries: list[GalleryReader] = []
        with ExitStack() as stack:
            for path in sorted(folder.glob('shard-*')):
                if _SHARD.fullmatch(path.name) and (path / _GALLERY_FILE).exists():
                    self._galleries.append(stack.enter_context(open_gallery(path)))
                    settings.check(self._galleries[-1], folder)
            self._stack = stack.pop_all()

    def __enter__(self) -> 'Shards':
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def __len__(self) -> int:
        return sum(map(len, self._galleries))

    def find(self, hashes: Iterable[str]) -> dict[str, Place]:
        """Where the embeddings of files of some content hashes are; those that were not encoded are left out."""
        wanted = sorted(set(hashes))
        return {
            content_hash: Place(number, row)
            for number, gallery in enumerate(self._galleries)
            for content_hash, row in gallery.find_hashes(wanted).items()
        }

    def read(self, places: Sequence[Place]) -> Encoded:
        """Embeddings, patches and records of at least one place, in the order of the places."""
        numbers = np.array([place.shard for place in places])
        ids = np.array([place.id for place in places], np.int64)
        parts = []
        for number in np.unique(numbers):
            chosen = np.flatnonzero(numbers == number)
            gallery, rows = self._galleries[number], ids[chosen]
            embeddings = {space: gallery.vectors(rows, space) for space in self.settings.spaces}
            patches = gallery.patches(rows) if self.settings.num_patches else None
            parts.append(Encoded(embeddings, gallery.records(rows), chosen, patches))
        return join_encoded(parts)

    def fit_whitening(self, places: Sequence[Place], dimension: int) -> dict[str, Whitening]:
        """Learn a whitening of each space to ``dimension`` dimensions.

        Of the embeddings at some places, a random sample (seed 0) of 50 per dimension, at least 20,000, is used.

        Raises:
            RetrievalError: If there are too few embeddings.
        """
        count = max(_LEAST_ROWS, _ROWS_PER_DIMENSION * max(self.settings.spaces.values()))
        if len(places) > count:
            chosen = np.sort(np.random.default_rng(0).choice(len(places), count, replace=False))
            places = [places[number] for number in chosen]
        is_cosine = self.settings.metric == 'cosine'
        embeddings = self.read(places).embeddings
        return {space: Whitening.fit(array, dimension, is_cosine) for space, array in embeddings.items()}

    def learn_metric(
        self,
        items: Sequence[ImageItem],
        places: Mapping[int, Place],
        sources: Sequence[str],
        learn: bool = True,
        add_up: bool = False,
    ) -> tuple[str, LearnedMetric | None]:
        """What searches compare of a space, or the sum of several: what to say of it, and the map, or None.

        With ``learn``, a metric is learned from labels, and kept if held-out classes gain. Otherwise, and where photos
        of too few classes can be read, nothing is computed, or with ``add_up`` the sum.
        """
        positions = sample_rows(np.array(sorted(places))).tolist()
        embeddings = self.read([places[position] for position in positions]).embeddings
        rows = add_views([embeddings[space] for space in sources])
        labeled = Labeled(rows, [items[position].label for position in positions])
        said = ''
        if learn:
            try:
                found = learn_metric(labeled, sources, metric=self.settings.metric)
            except RetrievalError as error:
                said = f'{JOINT.join(sources)}: no metric is learned: {error}.'
            else:
                found.kept = found.gains
                said = found.describe()
                if found.kept:
                    return said, found
        has_sum = add_up and len(sources) > 1
        return said, learn_metric(labeled, sources, kind='sum', metric=self.settings.metric) if has_sum else None

    def merge(
        self,
        target: GalleryWriter,
        items: Sequence[ImageItem],
        places: Mapping[int, Place],
        progress: ProgressBar,
        ids: np.ndarray | None = None,
    ) -> None:
        """Copy embeddings into an empty gallery in the order of the items, each with what is known of its item.

        ``places`` says where the embedding of an item is, by its position; unreadable items have none. ``ids`` are
        those of all items, None for new ones.
        """
        positions = sorted(places)
        for start in range(0, len(positions), _ROWS_AT_ONCE):
            chunk = positions[start : start + _ROWS_AT_ONCE]
            encoded = self.read([places[position] for position in chunk])
            records = [
                replace(record, id=-1, path=item.path, label=item.label, split=item.split, metadata=dict(item.metadata))
                for record, item in zip(encoded.records, (items[position] for position in chunk))
            ]
            target.add(encoded.embeddings, records, None if ids is None else ids[chunk], encoded.patches)
            progress.advance(len(chunk))


class CommitBuffer:
    """Collects encoded images and writes them by the thousand, or after some seconds, so that they survive a kill."""

    def __init__(self, write: Callable[[Encoded], None], seconds: float = SECONDS_BETWEEN_COMMITS) -> None:
        self._write = write
        self._seconds = seconds
        self._waiting: list[Encoded] = []
        self._last = time.monotonic()

    def take_all(self, stream: Iterable[Encoded], note: Callable[[Encoded], None]) -> None:
        """Write what a stream brings, all of it also where the stream breaks off; ``note`` is told what has come.

        Ctrl-C breaks off the waiting for the next images. It never breaks into a commit, so that nothing that was
        encoded is lost or written twice.
        """
        with postponed_interrupts() as interrupts:
            try:
                for encoded in interrupts.allowed_in(stream):
                    self._add(encoded)
                    note(encoded)
            finally:
                self._commit()

    def _add(self, encoded: Encoded) -> None:
        if len(encoded):
            self._waiting.append(encoded)
        if sum(map(len, self._waiting)) >= _ROWS_BETWEEN_COMMITS or time.monotonic() - self._last >= self._seconds:
            self._commit()

    def _commit(self) -> None:
        waiting, self._waiting = self._waiting, []  # what fails half-way is not written again
        if waiting:
            self._write(join_encoded(waiting))
        self._last = time.monotonic()


def open_shard(folder: Path, rank: int, settings: ShardSettings) -> GalleryWriter:
    """A rank's own shard, to write to; new if there is none."""
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


def add_to_shard(shard: GalleryWriter, encoded: Encoded) -> None:
    """Add images without paths, labels and metadata, which come with the images at the end and would fill the disk."""
    bare = [replace(record, label=None, split=None, metadata={}) for record in encoded.records]
    shard.add(encoded.embeddings, bare, patches=encoded.patches)
