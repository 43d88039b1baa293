"""Files that tools write: whether they can be written, whole files in place of half ones, and lists that grow."""

import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from .errors import FULL_DISK, GLSimError


def check_output_file(path: str | Path) -> None:
    """Raise :class:`GLSimError` unless a file can be written here; folders above it may be missing."""
    target = Path(path)
    with _explained(target):
        if target.is_dir():
            raise IsADirectoryError(0, 'it is a folder')
        if target.exists():
            if not os.access(target, os.W_OK):
                raise PermissionError(0, 'it may not be changed')
            if not target.is_file():  # a device or a pipe
                return
        _check_folder(target.resolve().parent, target)


def check_output_folder(path: str | Path) -> None:
    """Raise :class:`GLSimError` unless files can be written into a folder, which may be missing."""
    target = Path(path)
    with _explained(target):
        _check_folder(target.absolute(), target)


def replace_with(target: str | Path, write: Callable[[Path], object]) -> Path:
    """Let ``write`` make a file beside the target and put it in the target's place when it is complete.

    The folders above it are made. What was there stays if writing fails. Devices and pipes are written to as they are.

    Raises:
        GLSimError: If the file cannot be written.
    """
    given = Path(target)
    with _explained(given):
        target = given.resolve()  # a link stays one
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not target.is_file():
            write(target)
            return given
        partial = target.with_name(f'{target.name}.part{os.getpid()}')
        try:
            write(partial)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    return given


def write_file(path: str | Path, content: bytes | str) -> Path:
    """Write a whole file, text as UTF-8; the byte E9 of a file name becomes ``\\udce9``; see :func:`replace_with`."""
    data = content.encode('utf-8', 'backslashreplace') if isinstance(content, str) else content
    return replace_with(path, lambda partial: partial.write_bytes(data))


def write_pieces(path: str | Path, pieces: Iterable[bytes]) -> Path:
    """Write a whole file piece by piece; see :func:`replace_with`."""

    def write(partial: Path) -> None:
        with partial.open('wb') as file:
            file.writelines(pieces)

    return replace_with(path, write)


def write_json(path: str | Path, content: Any, indent: int | None = 1) -> Path:
    """Write plain values as a whole JSON file; see :func:`replace_with`."""
    return write_file(path, json.dumps(content, indent=indent) + '\n')


class GrowingJson:
    """A JSON file with a list, which is a whole list after each item that is added: no end of a program loses any.

    A file that is there is replaced when the first item comes, or at the end. A pipe gets its last bracket at the end::

        with GrowingJson('results.json') as results:
            results.append({'path': 'a.jpg'})

    Raises:
        GLSimError: If the file cannot be written; the items so far stay in it.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._file: BinaryIO | None = None
        self._end = 0  # where the last bracket is, and the next item goes

    def __enter__(self) -> 'GrowingJson':
        return self

    def append(self, item: Any) -> None:
        """Add plain values to the list."""
        data = json.dumps(item).encode()
        with _explained(self._path):
            if self._file is None:
                self._file = self._open()
            self._write(b',\n' + data if self._end > 1 else b'\n' + data)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with _explained(self._path):
            if self._file is None and kind is None:
                self._file = self._open()
            if self._file is not None:
                if not self._file.seekable():
                    self._file.write(b'\n]\n')
                self._file.close()

    def _open(self) -> BinaryIO:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open('wb', buffering=0)
        self._end = file.write(b'[')
        if file.seekable():
            file.write(b'\n]\n')
        return file

    def _write(self, data: bytes) -> None:
        """Put data in the place of the last bracket, and the bracket behind it, with one call of the system."""
        assert self._file is not None
        if not self._file.seekable():
            self._end += self._file.write(data)
            return
        whole = data + b'\n]\n'
        self._file.seek(self._end)
        if self._file.write(whole) == len(whole):
            self._end += len(data)
            return
        self._file.seek(self._end)  # a part of it was written: the disk is full
        self._file.write(b'\n]\n')
        self._file.truncate()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def full_disk_explained(folder: str | Path) -> Iterator[None]:
    """Name the folder that a full disk is under; the system's error does not."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        with _explained(Path(folder)):
            raise


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        fix = 'free some space, or choose another place' if error.errno in FULL_DISK else 'choose another place'
        raise GLSimError(f'{path} cannot be written ({error.strerror or error}); {fix}') from error


def _check_folder(folder: Path, target: Path) -> None:
    """Try to write into a folder, or into the one in which it would be made."""
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise NotADirectoryError(0, 'it is a file' if folder == target.absolute() else f'{folder} is a file')
    with tempfile.TemporaryFile(dir=folder):
        pass
    # A name that is too long, or that the file system does not know, is noticed here at the latest.
    target.exists()
