"""The two sides that a sync compares: photos in folders and tables, and rows of a gallery."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from retrieval.errors import RetrievalError, UserError
from retrieval.gallery import GalleryReader, Record, Roots

from ..errors import name_some
from ..images.photo_folders import LeftOut
from ..images.photos import ImageItem, is_address, to_text
from ..progress import ProgressBar
from .adding import differs, values_said
from .encoded import EncodingError
from .items import common_folder, find_items, folder_label, has_folder_label, hash_items, is_source
from .sync_plan import FoundPhoto, GalleryRow

FLAG = 'missing_since'
MANY = 20
"""Losses of more rows than this are doubted where a disk may be gone."""
_AT_ONCE = 2000
_LEAST_THREADS = 4


@dataclass
class Source:
    """A folder, list or table, and the photos that it names.

    Attributes:
        given: Its absolute path.
        folder: The folder itself, or that in which the list or table lies.
        has_classes: Whether it is a folder, whose sub-folders are classes.
        items: Its photos.
        photo_folders: Of a list or table, the innermost folders that hold all its photos, now and at the build, if
            they lie elsewhere.
    """

    given: str
    folder: str
    has_classes: bool
    items: list[ImageItem]
    photo_folders: tuple[str, ...] = ()

    @property
    def folders(self) -> tuple[str, ...]:
        """All folders whose photos are its own."""
        return self.folder, *self.photo_folders


@dataclass
class Listing:
    """All photos that a gallery shall hold.

    Attributes:
        roots: Those of the gallery, and new ones that photos below none of them bring with them.
        sources: Where they come from.
        items: Each once; what a table says comes before what a folder says.
        left_out: What was found beside photos, or excluded.
    """

    roots: Roots
    sources: list[Source]
    items: list[ImageItem]
    left_out: LeftOut

    def is_within(self, path: str) -> bool:
        """Whether a path of the gallery lies in one of the folders."""
        absolute = self.roots.file(path)
        return any(_is_below(absolute, folder) for source in self.sources for folder in source.folders)

    @property
    def shown(self) -> list[str]:
        """What messages call the sources."""
        return [to_text(self.roots.shown(one.given)) for one in self.sources]

    def folder_label(self, path: str) -> str | None:
        """The class that the folder of a path of the gallery says."""
        absolute = self.roots.file(path)
        folders = [one.folder for one in self.sources if one.has_classes and _is_below(absolute, one.folder)]
        if folders:
            return folder_label(absolute[len(max(folders, key=len)) :].replace(os.sep, '/').lstrip('/'))
        return None if os.path.isabs(path) or is_address(path) else folder_label(self.roots.split(path)[1])


class GalleryFacts(NamedTuple):
    """What has to be known of a gallery to list photos for it: name, origin as in its manifest, types of columns."""

    location: str
    origin: Mapping[str, str]
    columns: Mapping[str, str]

    @classmethod
    def of(cls, gallery: GalleryReader) -> GalleryFacts:
        """Those of an open gallery."""
        return cls(gallery.location, gallery.manifest.origin, gallery.columns())


def list_sources(
    gallery: GalleryFacts,
    sources: Iterable[str | Path] | str | Path | None = None,
    exclude: Sequence[str] | None = None,
) -> Listing:
    """The photos of folders, lists and tables.

    Args:
        gallery: The gallery that they are for.
        sources: None for those that the gallery was built from.
        exclude: Patterns of what to leave out; None for those of the build, if it was made from the same folders.

    Raises:
        UserError: If one is not there or has no photo, which may be a disk that is not mounted.
    """
    origin = gallery.origin
    own = json.loads(origin.get('sources') or '[]')
    if sources is None:
        given = own
        if not given:
            raise RetrievalError(f'{gallery.location} does not say of which folder or table it was built: give it')
    else:
        named = [sources] if isinstance(sources, (str, Path)) else list(sources)
        remote = next((one for one in named if is_address(str(one))), None)
        if remote is not None:
            raise RetrievalError(
                f'{remote} is an address, and photos are followed in folders, lists and tables on a disk: glsim add '
                'takes what is new there'
            )
        given = list(map(os.path.abspath, named))
    if exclude is None:
        exclude = json.loads(origin.get('exclude') or '[]') if set(given) <= set(own) else []
    for one in given:
        if not os.path.exists(one):
            raise RetrievalError(f'{one} is not there; nothing was changed: mount its disk, or correct the path')
        if not is_source(one):
            raise RetrievalError(f'{one} is no folder, list (.txt) or table (.csv): give one of these')
    roots = Roots.of(origin)
    given = [roots.canonical(one) for one in given]
    folders = [one if os.path.isdir(one) else os.path.dirname(one) for one in given]
    if not roots.default:
        roots = Roots({**roots.folders, '': os.path.commonpath(folders)})
    found = []
    left_out = LeftOut()
    for one, folder in zip(given, folders):
        try:
            items, roots, *_ = find_items(one, roots, exclude, left_out, gallery.columns)
        except UserError as error:
            raise RetrievalError(f'{error}; nothing was changed: if {one} is on a disk, mount it') from error
        has_classes = folder == one
        source = Source(one, folder, has_classes, items)
        if not has_classes:
            at_build = origin.get('photos', '') if one in own else ''
            source.photo_folders = _folders_elsewhere(folder, (common_folder(items), at_build))
        found.append(source)
    unique: dict[str, ImageItem] = {}
    for source in sorted(found, key=lambda one: one.has_classes):
        for item in source.items:
            unique.setdefault(item.path, item)
    return Listing(roots, found, [unique[path] for path in sorted(unique)], left_out)


class Stamp(NamedTuple):
    """What tells that a file may have changed: its size in bytes, time of change in nanoseconds, and number on disk."""

    size: int
    time: int
    number: int


def stamp_of(file: str) -> Stamp | None:
    """Stamp of a file, None if there is none."""
    try:
        facts = os.stat(file)
    except (OSError, ValueError):
        return None
    return Stamp(facts.st_size, facts.st_mtime_ns, facts.st_ino)


class KnownHashes:
    """Content hashes of files as they were, so that only those that have changed are read again."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Stamp, str]] = {}

    def take(self, items: Sequence[ImageItem]) -> tuple[list[Stamp | None], dict[int, str]]:
        """Stamps of all items now, and hashes of those that are as they were, by position; others are forgotten."""
        stamps = [stamp_of(item.file) for item in items]
        known = {}
        for position, (item, stamp) in enumerate(zip(items, stamps)):
            before = self._known.get(item.file)
            if before is not None and before[0] == stamp:
                known[position] = before[1]
        self._known = {items[one].file: self._known[items[one].file] for one in known}
        return stamps, known

    def add(self, items: Sequence[ImageItem], stamps: Sequence[Stamp | None], hashes: dict[int, str]) -> None:
        """Remember hashes of items, which had these stamps before they were read."""
        for position, content_hash in hashes.items():
            stamp = stamps[position]
            if stamp is not None:
                self._known[items[position].file] = stamp, content_hash


class FoundPhotos(NamedTuple):
    """Photos as they were read.

    Attributes:
        photos: One for each item of ``items``; and without an item, paths that are not settled.
        items: The photos that are on disk.
        errors: Those that cannot be read.
        absent: Paths that a table names and that are not on disk.
    """

    photos: list[FoundPhoto]
    items: list[ImageItem]
    errors: list[EncodingError]
    absent: list[str]


def read_photos(
    listing: Listing,
    num_threads: int,
    bar: ProgressBar,
    known: KnownHashes | None = None,
    unsettled: Collection[str] = (),
) -> FoundPhotos:
    """Read and hash the photos in a few threads; those that are not settled are left for later.

    Raises:
        RetrievalError: If no photo of a source can be read, as on a disk that is gone.
    """
    items = listing.items
    stamps, hashes = ([], {}) if known is None else known.take(items)
    todo = [one for one, item in enumerate(items) if one not in hashes and item.path not in unsettled]
    bar.advance(len(items) - len(todo))
    new, errors = hash_items(items, todo, max(num_threads, _LEAST_THREADS), bar)
    if known is not None:
        known.add(items, stamps, new)
    hashes.update(new)
    absent = [
        error.path
        for error in errors
        if not is_address(items[error.position].file) and not os.path.lexists(items[error.position].file)
    ]
    readable = {items[position].path for position in hashes}
    for source in listing.sources:
        if not any(item.path in readable or item.path in unsettled for item in source.items):
            raise RetrievalError(
                f'none of the {len(source.items)} photos of {source.given} can be read; nothing was changed: mount its '
                'disk, or check who may read it'
            )
    gone = set(absent)
    kept = [position for position, item in enumerate(items) if item.path not in gone]
    photos = [_photo(items[one], None if items[one].path in unsettled else hashes.get(one)) for one in kept]
    listed = {photo.path for photo in photos}
    photos += [FoundPhoto(path, None) for path in unsettled if path not in listed]
    return FoundPhotos(photos, [items[one] for one in kept], [one for one in errors if one.path not in gone], absent)


def read_rows(gallery: GalleryReader, listing: Listing, found: FoundPhotos) -> Iterator[GalleryRow]:
    """All rows of a gallery as a plan needs them; records are read a few at a time."""
    items = {item.path: item for item in found.items}
    hashes = {photo.content_hash for photo in found.photos}
    listed = {item.path for item in listing.items}
    columns = {name.lower(): name for name in gallery.columns()}
    ids = gallery.ids()
    for start in range(0, len(ids), _AT_ONCE):
        for record in gallery.records(ids[start : start + _AT_ONCE]):
            # Galleries had one root once, and the rows of all other photos have absolute paths.
            path = listing.roots.path(record.path) if os.path.isabs(record.path) else record.path
            item = items.get(path)
            is_within = bool(path) and (path in listed or listing.is_within(path))
            is_elsewhere = bool(path) and not is_within and record.content_hash in hashes
            yield GalleryRow(
                record.id,
                path,
                record.content_hash,
                record.label,
                listing.folder_label(path) if path else None,
                is_within,
                is_elsewhere and _is_gone(listing.roots.file(path)),
                FLAG in record.metadata,
                item is not None and (path != record.path or _is_outdated(record, item, columns)),
            )


def doubts(listing: Listing, rows: Sequence[GalleryRow], num_rows: int) -> dict[int, str]:
    """Why it is not certain that the photos of some lost rows were deleted, by id; ``num_rows`` lie in the folders.

    A reason that begins with "unreachable" is no doubt but a fact: the disk does not answer, or a link leads nowhere.
    """
    folders: dict[str, str] = {}
    found = {row.id: _doubt(listing.roots.file(row.path), folders) for row in rows}
    if len(rows) <= MANY:
        found = {number: '' if reason == _EMPTY else reason for number, reason in found.items()}
    named = {item.path for item in listing.items if not item.name}  # by a list or table, which may follow a move later
    found.update((row.id, 'listed, but not there') for row in rows if row.path in named and not found[row.id])
    certain = [number for number, reason in found.items() if not reason]
    if len(certain) > MANY and 2 * len(certain) > num_rows:
        found.update(dict.fromkeys(certain, 'gone with more than half of all: a disk that is not mounted?'))
    return {number: reason for number, reason in found.items() if reason}


_EMPTY = 'its folder is empty: a disk that is not mounted?'
_UNREACHABLE = 'unreachable'


def is_unreachable(reason: str) -> bool:
    """Whether a doubt is that the disk does not answer."""
    return reason.startswith(_UNREACHABLE)


def _doubt(file: str, folders: dict[str, str]) -> str:
    """Why a photo may not be gone, '' if it is; what is known of folders is kept in ``folders``."""
    if is_address(file):
        return 'not listed any more'
    try:
        os.lstat(file)
        if not os.path.exists(file):
            return f'{_UNREACHABLE}: a link that leads nowhere'
        reason = _known_doubt(os.path.dirname(file), folders)
        return reason if is_unreachable(reason) else 'not listed any more'
    except (FileNotFoundError, NotADirectoryError):
        return _known_doubt(os.path.dirname(file), folders)
    except (OSError, ValueError) as error:
        return f'{_UNREACHABLE}: {getattr(error, "strerror", error)}'


def _known_doubt(folder: str, folders: dict[str, str]) -> str:
    if folder not in folders:
        folders[folder] = _doubt_of_folder(folder)
    return folders[folder]


def _doubt_of_folder(folder: str) -> str:
    while not os.path.lexists(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    if not os.path.exists(folder):
        return f'{_UNREACHABLE}: a link that leads nowhere'
    try:
        with os.scandir(folder) as entries:
            return '' if next(entries, None) is not None else _EMPTY
    except NotADirectoryError:
        return ''
    except OSError as error:
        return f'{_UNREACHABLE}: {error.strerror}'


def _is_outdated(record: Record, item: ImageItem, columns: dict[str, str]) -> bool:
    return differs(record, values_said(item, has_label=record.label is not None), columns)


def _photo(item: ImageItem, content_hash: str | None) -> FoundPhoto:
    return FoundPhoto(item.path, content_hash, item.label, has_folder_label(item))


def _folders_elsewhere(folder: str, others: Iterable[str]) -> tuple[str, ...]:
    """Those that lie outside of a folder, each once; not the root of a disk, which would make everything one's own."""
    return tuple(
        one
        for one in dict.fromkeys(others)
        if one and one != os.path.dirname(one) and one != folder and not _is_below(one, folder)
    )


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder if folder.endswith(os.sep) else folder + os.sep)


def _is_gone(file: str) -> bool:
    return not is_address(file) and not os.path.lexists(file)


def check_choice(names: Sequence[str], value: Any, option: str) -> None:
    """RetrievalError unless a value is one of some names."""
    if value not in names:
        raise RetrievalError(f'{option} must be one of {name_some(names, len(names))}, got {value!r}')
