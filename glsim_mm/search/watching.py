"""Watching folders: a gallery follows its photos as they come, change and go, once each of them has settled."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from retrieval.errors import UserError
from retrieval.gallery import open_gallery

from .base_encoder import BaseEncoder
from .sync_report import SyncReport
from .sync_sources import GalleryFacts, KnownHashes, Listing, Stamp, list_sources, stamp_of
from .syncing import Sync

SETTLE_SECONDS, POLL_SECONDS = 2.0, 10.0
_LOOK_ANYWAY = 300.0  # network drives do not tell of every change
_SLICE = 0.5  # within which it is noticed that it shall stop, or a folder is gone
_LEAST_PAUSE = 0.05
_EVENTS = ('created', 'modified', 'moved', 'deleted')  # reading files makes others
INSTALL = 'pip install watchdog'


class Settling:
    """Tells which files differ from the last sync, and which of them are still changing.

    It is shown the stamps of all files again and again. A file has settled when its stamp, or that it is gone, has been
    the same for some seconds; what the first look shows has settled.

    ::

        settling = Settling(2.0)
        unsettled = settling.look(stamps, time.monotonic())
        if settling.is_due:
            settling.done(stamps)  # after a sync without the files that are unsettled

    Args:
        seconds: How long a file must stay as it is.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.is_due = True
        self._is_owed = False  # the last sync has left something for later
        self._synced: dict[str, Stamp | None] | None = None
        self._changing: dict[str, tuple[Stamp | None, float]] = {}  # what a file is now, and since when
        self._unsettled: set[str] = set()

    def look(self, stamps: Mapping[str, Stamp | None], now: float) -> set[str]:
        """Take the stamps of all files at a time in seconds; returns the files that have not settled."""
        if self._synced is None:
            return set()
        changing = {}
        for path in stamps.keys() | self._synced.keys():
            stamp = stamps.get(path)
            if stamp != self._synced.get(path):
                before = self._changing.get(path)
                changing[path] = before if before is not None and before[0] == stamp else (stamp, now)
        self._changing = changing
        self._unsettled = {path for path, (_, start) in changing.items() if now - start < self.seconds}
        owed = self._is_owed and not self._unsettled
        self.is_due = owed or len(self._unsettled) < len(changing)
        return self._unsettled

    def done(self, stamps: Mapping[str, Stamp | None]) -> None:
        """A sync was made of the files as the last look has shown them, except for those that had not settled."""
        before = self._synced or {}
        self._synced = {path: stamp for path, stamp in stamps.items() if path not in self._unsettled}
        self._synced.update((path, before[path]) for path in self._unsettled if path in before)
        self._is_owed = bool(self._unsettled)
        self.is_due = False

    @property
    def is_waiting(self) -> bool:
        """Whether some files have not settled."""
        return bool(self._unsettled)


def watch_folders(
    location: str | Path,
    encoder: BaseEncoder | Callable[[], BaseEncoder],
    sources: Iterable[str | Path] | str | Path | None = None,
    *,
    tell: Callable[[SyncReport | str], None],
    exclude: Sequence[str] | None = None,
    settle_seconds: float = SETTLE_SECONDS,
    poll_seconds: float | None = None,
    stop: threading.Event | None = None,
    **options: Any,
) -> None:
    """Sync a gallery with its folders now, and again whenever files in them have changed, until it is told to stop.

    The gallery is open only while it is written, so that others can write to it too. Rows are removed only while no
    file is changing, because a photo that goes may come back at another place.

    Args:
        location: Folder of the gallery, or ``milvus://...``.
        encoder: As for :func:`glsim_mm.search.sync_images`, as are ``sources``, ``exclude`` and ``options``.
        tell: Gets the report of the first sync, and of each that has changed something or found another photo that
            cannot be read or is contradictory; and a sentence where one had to be put off, as while a disk is gone.
        settle_seconds: How long a file must stay as it is before it is read.
        poll_seconds: Look at all files that often, in place of waiting for events of the operating system. None for
            events if watchdog is installed and can watch the folders, else every 10 seconds.
        stop: Ends the watch when it is set.

    Raises:
        UserError: If the first sync fails.
    """
    watch = _Watch(str(location), encoder, sources, exclude, tell, Settling(settle_seconds), Sync(**options))
    folders = [folder for one in watch.list().sources for folder in one.folders]
    halt = stop or threading.Event()
    while not halt.is_set():
        # A folder that was away, as with its disk, is another one when it is back, and has to be watched anew.
        identities = _identities(folders)
        with _signals(folders, poll_seconds, watch.tell_once) as (signal, pause):
            trouble = watch.look_or_tell()  # when changes are seen already, so that none is missed
            while not trouble and not halt.is_set() and _identities(folders) == identities:
                soon = max(settle_seconds / 2, _LEAST_PAUSE)
                end = time.monotonic() + (soon if watch.settling.is_waiting else pause)
                while (left := end - time.monotonic()) > 0 and not signal.wait(min(left, _SLICE)):
                    if halt.is_set() or _identities(folders) != identities:
                        break
                signal.clear()
                trouble = watch.look_or_tell()
                halt.wait(settle_seconds / 2)  # of a stream of events, only some are followed by a look
        if not trouble and not halt.is_set():
            trouble = watch.look_or_tell()
        while trouble and not halt.wait(max(settle_seconds, _LEAST_PAUSE)):
            trouble = watch.look_or_tell(trouble)


class _Watch:
    """Looks at the files and syncs those that have settled."""

    def __init__(
        self,
        location: str,
        encoder: BaseEncoder | Callable[[], BaseEncoder],
        sources: Iterable[str | Path] | str | Path | None,
        exclude: Sequence[str] | None,
        tell: Callable[[SyncReport | str], None],
        settling: Settling,
        sync: Sync,
    ) -> None:
        self._location = location
        self._encoder = encoder if isinstance(encoder, BaseEncoder) else cache(encoder)
        self._sources = sources if sources is None or isinstance(sources, (str, Path)) else list(sources)
        self._exclude = exclude
        self._tell = tell
        self.settling = settling
        self._sync = sync
        self._known = KnownHashes()
        self._is_first = True
        self._troubles: list[Any] = []
        with open_gallery(location) as gallery:
            self._facts = GalleryFacts.of(gallery)
        self._told: set[str] = set()

    def list(self) -> Listing:
        """The photos that are there now."""
        return list_sources(self._facts, self._sources, self._exclude)

    def tell_once(self, sentence: str) -> None:
        """Tell something that does not change."""
        if sentence not in self._told:
            self._tell(sentence)
        self._told.add(sentence)

    def look_or_tell(self, told: str = '') -> str:
        """Look, and return '', or why that was not possible, which is told unless it was ``told`` already.

        What is wrong at the first look is raised.
        """
        try:
            self.look()
        except UserError as error:
            if self._is_first:
                raise
            if str(error) != told:
                self._tell(str(error))
            return str(error)
        return ''

    def look(self) -> None:
        """Compare the files with the last look, and sync what has settled."""
        listing = self.list()
        stamps = {item.path: stamp_of(item.file) for item in listing.items}
        stamps.update((one.given, stamp_of(one.given)) for one in listing.sources if not one.has_classes)
        unsettled = self.settling.look(stamps, time.monotonic())
        if not self.settling.is_due:
            return
        self._sync.read_ahead(listing, self._known, unsettled)
        with open_gallery(self._location, writable=True) as gallery:
            report = self._sync(gallery, self._encoder, listing, known=self._known, unsettled=unsettled)
            self._facts = GalleryFacts.of(gallery)
        self.settling.done(stamps)
        troubles = [report.unreadable, [] if unsettled else report.kept, report.contradictions]
        if self._is_first or not report.is_idle or troubles != self._troubles:
            self._tell(report)
        self._is_first, self._troubles = False, troubles


def _identities(folders: Collection[str]) -> list[tuple[int, int] | None]:
    """What tells folders apart that were at the same places one after the other; None where there is none."""
    found: list[tuple[int, int] | None] = []
    for folder in folders:
        try:
            facts = os.stat(folder)
            found.append((facts.st_dev, facts.st_ino))
        except OSError:
            found.append(None)
    return found


@contextmanager
def _signals(
    folders: Collection[str], poll_seconds: float | None, tell: Callable[[str], None]
) -> Iterator[tuple[threading.Event, float]]:
    """An event that is set when something changes in folders, and how long to wait for it."""
    signal = threading.Event()
    observer = None
    if poll_seconds is None:
        observer, reason = _start_observer(folders, signal)
        if reason:
            tell(f'looking every {POLL_SECONDS:.0f} seconds, because {reason}')
    try:
        yield signal, _LOOK_ANYWAY if observer is not None else poll_seconds or POLL_SECONDS
    finally:
        if observer is not None:
            observer.stop()
            observer.join()


def _start_observer(folders: Collection[str], signal: threading.Event) -> tuple[Any, str]:
    """What sets an event when something changes in folders; or None, and why there is nothing."""
    try:
        from watchdog.events import FileSystemEvent, FileSystemEventHandler
        from watchdog.observers import Observer
    except ImportError:
        return None, f'watchdog, which tells of changes at once, is not installed: {INSTALL}'

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            if event.event_type in _EVENTS:
                signal.set()

    observer = Observer()
    try:
        for folder in sorted(set(folders)):
            observer.schedule(Handler(), folder, recursive=True)
        observer.start()
    except OSError as error:  # as where the system's limit of watches is reached
        observer.unschedule_all()
        return None, f'the system cannot watch the folders ({error.strerror or error})'
    return observer, ''
