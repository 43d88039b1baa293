"""What archives hold, with everything refused that could leave the folder they are unpacked in."""

import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple

from ...errors import GLSimError, one_line

_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, struct.error),
    *(OSError, ValueError, NotImplementedError, RuntimeError),  # what reading unheard-of or encrypted members raises
)
_ZIP_STARTS = (b'PK\x03\x04', b'PK\x05\x06')
_BLOCK = 1 << 20


class MemberStream:
    """Content of a member; what is wrong with the archive is told in one sentence.

    Args:
        stream: The content.
        archive: The archive, for the error.
    """

    def __init__(self, stream: IO[bytes], archive: Path) -> None:
        self._stream = stream
        self._archive = archive

    def read(self, size: int = -1) -> bytes:
        """Read.

        Args:
            size: At most so many bytes. Defaults to -1, all.

        Returns:
            Empty at the end.

        Raises:
            GLSimError: If the archive is damaged or incomplete.
        """
        try:
            return self._stream.read(size)
        except _DAMAGED as error:
            raise _damaged(self._archive, error) from error


class Member(NamedTuple):
    """A file of an archive.

    Attributes:
        path: Below the folder it is unpacked in, without ``..``.
        stream: Its content.
    """

    path: PurePosixPath
    stream: MemberStream


def read_members(archive: Path) -> Iterator[Member]:
    """Files of a zip or tar archive, compressed or not, in its order; empty folders are passed over.

    Args:
        archive: The archive.

    Yields:
        A file; its stream can be read until the next one is asked for.

    Raises:
        GLSimError: If the archive is damaged, incomplete or of another kind, or a member is a link, a device or would
            leave the folder; the member is named.
    """
    if not archive.is_file():
        raise GLSimError(f'{archive} is not there; download it again')
    try:
        with archive.open('rb') as stream:
            # zipfile.is_zipfile would also accept a tar archive whose last member is a zip archive.
            is_zip = stream.read(4) in _ZIP_STARTS
        yield from _read_zip(archive) if is_zip else _read_tar(archive)
    except _DAMAGED as error:
        raise _damaged(archive, error) from error


def safe_path(name: str, archive: Path) -> PurePosixPath:
    """Path of a member below the folder it is unpacked in, on every system.

    Args:
        name: The name in the archive.
        archive: The archive, for the error.

    Returns:
        Relative, without ``..``.

    Raises:
        GLSimError: If the name is absolute, has ``..``, a drive or a character that no path has.
    """
    windows = PureWindowsPath(name)
    absolute = PurePosixPath(name).is_absolute() or windows.drive or windows.root
    if absolute or '..' in windows.parts or '\0' in name:
        raise GLSimError(
            f'{archive} has the member {name!r}, which would leave the folder it is unpacked in; do not use it'
        )
    return PurePosixPath(name)


def _read_zip(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            path, mode = safe_path(info.filename, archive), info.external_attr >> 16
            kind = stat.S_IFMT(mode)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _special(archive, info.filename)
            if not info.is_dir() and kind != stat.S_IFDIR:
                with opened.open(info) as stream:
                    yield Member(path, MemberStream(stream, archive))


def _read_tar(archive: Path) -> Iterator[Member]:
    with tarfile.open(archive) as opened:
        for info in opened:
            path = safe_path(info.name, archive)
            if not (info.isreg() or info.isdir()):
                raise _special(archive, info.name)
            stream = opened.extractfile(info) if info.isreg() else None
            if stream is not None:
                with stream:
                    yield Member(path, MemberStream(stream, archive))
        _check_end(opened)


def _check_end(opened: tarfile.TarFile) -> None:
    """Raise if the archive stops between two members, or its compressed data is damaged behind the last one."""
    stream = opened.fileobj
    if stream is None:
        return
    # tarfile takes the end of the file, or a damaged header, for the end of the archive, which two blocks of zeros
    # mark. It has read the first; seeking back would mean to decompress all of it again.
    has_first = stream.tell() - opened.offset == tarfile.BLOCKSIZE
    if not has_first or stream.read(tarfile.BLOCKSIZE).strip(b'\0'):
        raise tarfile.ReadError('the end of the archive is missing')
    while stream.read(_BLOCK):  # gzip and its like check their sums at the end
        pass


def _damaged(archive: Path, error: Exception) -> GLSimError:
    return GLSimError(
        f'{archive} cannot be unpacked ({one_line(error) or type(error).__name__}); it is incomplete or damaged, '
        'remove it and download it again'
    )


def _special(archive: Path, name: str) -> GLSimError:
    return GLSimError(
        f'{archive} has the member {name!r}, which is a link or device instead of a file; unpack it by hand if you '
        'trust it'
    )
