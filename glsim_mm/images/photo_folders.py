"""Which files of a folder are photos: one list of endings, one list of junk, one way to walk, and what was left out."""

import os
import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase, translate
from heapq import heappop, heappush
from importlib.util import find_spec
from pathlib import Path

from PIL import features

from ..errors import GLSimError, name_some

HEIF_SUFFIXES = ('.heic', '.heif', '.hif')
_PILLOW_SUFFIXES = {'webp': ('.webp',), 'avif': ('.avif',), 'jpg_2000': ('.j2k', '.jp2')}

PHOTO_SUFFIXES = (
    *('.bmp', '.gif', '.jfif', '.jpe', '.jpeg', '.jpg', '.mpo', '.pbm', '.pgm', '.png', '.pnm', '.ppm'),
    *('.tif', '.tiff'),
    *(suffix for name, suffixes in _PILLOW_SUFFIXES.items() if features.check(name) for suffix in suffixes),
    *(HEIF_SUFFIXES if find_spec('pillow_heif') else ()),
)
"""Endings, in small letters, of files that are looked for in folders, as far as Pillow and pillow-heif read them."""

JUNK = (
    '.*',  # hidden: .Trash-0, .thumbnails, .ipynb_checkpoints, .DS_Store, ._photo.jpg of macOS on other disks
    *('__MACOSX', 'Icon\r', 'Network Trash Folder', 'Temporary Items'),  # macOS
    *('Thumbs.db', 'ehthumbs*.db', 'desktop.ini', '$RECYCLE.BIN', 'RECYCLER', 'System Volume Information'),  # Windows
    *('@eaDir', '@tmp', '#recycle', '#snapshot', '@Recycle', '@Recently-Snapshot'),  # Synology, QNAP
    *('lost+found', '__pycache__'),
)
"""Names of files and folders, as patterns in which case does not count, that are neither photos nor classes."""

INSTALL_HEIF = 'pip install pillow-heif'
HIDDEN = 'hidden or of the system'
EXCLUDED = 'excluded'
OUTSIDE = 'in no folder of a class'
_LINKED = 'linked to a folder that is listed already'
_BROKEN = 'linked to nothing'
_CLOSED = 'whose content cannot be listed'
_NO_SUFFIX = 'without an ending'
_NAMED = 1

_JUNK = re.compile('|'.join(translate(pattern.lower()) for pattern in JUNK))
_HOW_TO_READ = {
    **dict.fromkeys(HEIF_SUFFIXES, f'to read them: {INSTALL_HEIF}'),
    **dict.fromkeys(
        (one for suffixes in _PILLOW_SUFFIXES.values() for one in suffixes), 'to read them: pip install -U pillow'
    ),
}


@dataclass
class LeftOut:
    """Files and folders that were found beside photos and left out.

    ::

        left_out = LeftOut()
        photos = find_images('holiday', left_out=left_out)
        print(left_out.summary())  # 2 hidden or of the system (such as @eaDir), 1 .heic (d.heic; to read them, ...)

    Attributes:
        by_reason: Paths below the folder that was searched, by why they were left out: in words, or, for files with an
            ending that is not read, the ending. A folder counts once; what is in it is not looked at.
    """

    by_reason: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self.by_reason.values()))

    def add(self, reason: str, *paths: str) -> None:
        """Note what is left out."""
        self.by_reason.setdefault(reason, []).extend(paths)

    def update(self, other: 'LeftOut') -> None:
        """Note what another search has left out."""
        for reason, paths in other.by_reason.items():
            self.add(reason, *paths)

    def summary(self) -> str:
        """Number of files and folders for each reason, with an example and what would help; empty if there are none."""
        return ', '.join(self.describe(reason, _NAMED) for reason in self.by_reason)

    def describe(self, reason: str, at_most: int) -> str:
        """Number, reason and first paths of what was left out for one reason."""
        paths = self.by_reason[reason]
        such_as = 'such as ' if len(paths) > at_most else ''
        hint = f'; {_HOW_TO_READ[reason]}' if reason in _HOW_TO_READ else ''
        return f'{len(paths):,} {reason} ({such_as}{", ".join(paths[:at_most])}{hint})'


@dataclass
class PhotoList:
    """What a folder holds, as paths below it with slashes, in order.

    Attributes:
        files: The photos.
        folders: Folders directly below it, also those without photos.
        left_out: What else there is.
    """

    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)


def with_hint(reason: str) -> str:
    """Why files were left out, with what would help, if anything does."""
    return f'{reason} ({_HOW_TO_READ[reason]})' if reason in _HOW_TO_READ else reason


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or made by a system or editor for itself; see :data:`JUNK`."""
    return _JUNK.match(name.lower()) is not None


def list_photos(
    root: str, exclude: Sequence[str] = (), suffixes: Sequence[str] = PHOTO_SUFFIXES, pattern: str = ''
) -> PhotoList:
    """Look for photos in a folder and all folders below it.

    Links to folders are followed, but each folder is listed once, by its own place rather than by a link. A link that
    leads back to where it lies is not followed.

    Args:
        root: The folder; its own name does not matter.
        exclude: Patterns of what to leave out, see :func:`check_patterns`.
        suffixes: Endings of photos, in small letters.
        pattern: Take only what this glob pattern fits, relative to the folder; ``**`` stands for any number of folders.

    Raises:
        OSError: If the folder is not there or cannot be read.
        GLSimError: If a pattern of ``exclude`` cannot be used.
    """
    check_patterns(exclude)
    found = PhotoList()
    wanted = pattern.split('/') if pattern else ['**']
    seen = {_identity(root)}
    folders, links = deque(['']), list[str]()
    while folders or links:
        if folders:
            folder = folders.popleft()
        else:  # all real folders are known by now
            folder = heappop(links)
            if _leads_back(root, folder) or _identity(os.path.join(root, folder)) in seen:
                found.left_out.add(_LINKED, folder)
                continue
            seen.add(_identity(os.path.join(root, folder)))
        if folder and '/' not in folder:
            found.folders.append(folder)
        for entry in _entries(root, folder, found.left_out):
            path = f'{folder}/{entry.name}' if folder else entry.name
            is_folder = _is_folder(entry)
            if not (_may_hold if is_folder else _fits)(path.split('/'), wanted):
                continue
            reason = _reason(path, is_folder, exclude, suffixes)
            leads_nowhere = not is_folder and not os.path.isfile(entry.path)
            if leads_nowhere and (reason is None or (reason == _NO_SUFFIX and entry.is_symlink())):
                reason = _BROKEN
            if reason is not None:
                found.left_out.add(reason, path)
            elif not is_folder:
                found.files.append(path)
            elif entry.is_symlink():
                heappush(links, path)
            elif _identity(entry.path) not in seen:
                seen.add(_identity(entry.path))
                folders.append(path)
    found.files.sort(key=lambda path: path.split('/'))
    found.folders.sort()
    return found


def sort_files(files: Iterable[str], exclude: Sequence[str], suffixes: Sequence[str]) -> PhotoList:
    """:func:`list_photos` of files that a storage has listed, by their paths below a folder."""
    check_patterns(exclude)
    found = PhotoList()
    left: set[str] = set()
    folders: set[str] = set()
    for file in sorted(files, key=lambda path: path.split('/')):
        parts = file.split('/')
        for length in range(1, len(parts) + 1):
            path = '/'.join(parts[:length])
            reason = _reason(path, length < len(parts), exclude, suffixes)
            if reason is not None:
                if path not in left:
                    found.left_out.add(reason, path)
                left.add(path)
                break
            if length == 1 < len(parts):
                folders.add(path)
        else:
            found.files.append(file)
    found.folders = sorted(folders)
    return found


def check_patterns(patterns: Sequence[str]) -> None:
    """Refuse patterns of files and folders to leave out that do not mean anything.

    They are a part of those of ``.gitignore``: ``*``, ``?`` and ``[abc]`` stand for signs of one name. A pattern
    without a slash fits the name of any file or folder (``*_mask.png``, ``drafts``). One with a slash fits the path
    below the folder that is searched, and ``**`` any number of folders (``2019/*.png``, ``**/raw/*.jpg``). A slash at
    the end restricts it to folders. Case counts.

    Raises:
        GLSimError: For an empty pattern, and one that begins with ``!``.
    """
    wrong = [pattern for pattern in patterns if not pattern.strip('/') or pattern.startswith('!')]
    if wrong:
        raise GLSimError(
            f'{name_some(list(map(repr, wrong)))} excludes nothing; give a name or path: drafts, *_mask.png, 2019/*.png'
        )


def is_excluded(path: str, patterns: Sequence[str]) -> bool:
    """Whether a file, by its path below the folder that is searched, or a folder above it, is to be left out."""
    parts = path.split('/')
    return any(
        _is_excluded(parts[:length], length < len(parts), pattern)
        for length in range(1, len(parts) + 1)
        for pattern in patterns
    )


def fits_pattern(path: str, pattern: str) -> bool:
    """Whether a path below a folder is one that a glob pattern fits; ``**`` stands for any number of folders."""
    return _fits(path.split('/'), pattern.split('/'))


def _entries(root: str, folder: str, left_out: LeftOut) -> list[os.DirEntry]:
    try:
        with os.scandir(os.path.join(root, folder) if folder else root) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        if not folder:
            raise
        left_out.add(_CLOSED, folder)
        return []


def _reason(path: str, is_folder: bool, exclude: Sequence[str], suffixes: Sequence[str]) -> str | None:
    """Why a file or folder is left out, if it is; those above it are not."""
    parts = path.split('/')
    if is_junk(parts[-1]):
        return HIDDEN
    if any(_is_excluded(parts, is_folder, pattern) for pattern in exclude):
        return EXCLUDED
    suffix = os.path.splitext(parts[-1])[1].lower()
    if is_folder or parts[-1].lower().endswith(tuple(suffixes)):
        return None
    return suffix or _NO_SUFFIX


def _is_excluded(parts: list[str], is_folder: bool, pattern: str) -> bool:
    if pattern.endswith('/') and not is_folder:
        return False
    name = pattern.rstrip('/')
    return _fits(parts, name.lstrip('/').split('/')) if '/' in name else fnmatchcase(parts[-1], name)


def _fits(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether the parts of a path are those of a pattern."""
    if not wanted:
        return not parts
    if wanted[0] == '**':
        return _fits(parts, wanted[1:]) or (len(parts) > 0 and _fits(parts[1:], wanted))
    return len(parts) > 0 and fnmatchcase(parts[0], wanted[0]) and _fits(parts[1:], wanted[1:])


def _may_hold(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether there may be files in a folder whose paths fit a pattern."""
    if not parts or not wanted or wanted[0] == '**':
        return bool(wanted)
    return fnmatchcase(parts[0], wanted[0]) and _may_hold(parts[1:], wanted[1:])


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _identity(folder: str) -> tuple[int, int]:
    """What tells folders apart, whatever leads to them."""
    try:
        status = os.stat(folder)
    except OSError:  # it went meanwhile
        return -1, hash(folder)
    return status.st_dev, status.st_ino


def _leads_back(root: str, link: str) -> bool:
    """Whether a link leads to a folder in which it lies itself."""
    target = os.path.realpath(os.path.join(root, link))
    return Path(os.path.realpath(os.path.dirname(os.path.join(root, link)))).is_relative_to(target)
