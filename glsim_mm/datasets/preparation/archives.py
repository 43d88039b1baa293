"""Unpacks archives completely or not at all, and never outside the folder."""

import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from ...errors import GLSimError, one_line

_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, struct.error),
    *(OSError, ValueError, NotImplementedError, RuntimeError),  # raised for unknown or encrypted members
)
_ZIP_STARTS = (b'PK\x03\x04', b'PK\x05\x06')
_MACOS_COPIES = '__MACOSX'  # has the names of all files, but not their content
_BLOCK = 1 << 20


def extract(
    archive: str | Path, target: str | Path, provides: Sequence[str] = (), rename: Mapping[str, str] | None = None
) -> None:
    """Unpack a zip or tar archive, compressed or not, into a folder; files that are there already are replaced.

    It is unpacked into a folder of its own first, so that a damaged archive or an interruption leaves nothing among
    the data. The target must have the paths in ``provides`` afterwards, of alternatives separated by ``|`` one. If the
    archive has them in a folder below its top, what lies beside that folder is left out; ``rename`` gives files and
    folders in it new names.
    """
    archive, target = Path(archive), Path(target)
    # Inside the target, which may be a disk of its own: moving is then renaming.
    temporary = target / f'.unpacking-{archive.name}'
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # left by a run that was killed
        temporary.mkdir(parents=True)
        for member, blocks in read_members(archive):
            # Written as plain files: neither links nor the modes and owners of the archive reach the disk.
            path = temporary.joinpath(*member.parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open('wb') as stream:
                stream.writelines(blocks)
        found = _find(temporary, provides, rename or {}, archive)
        for old, new in (rename or {}).items():
            if (found / old).exists():
                (found / old).rename(found / new)
        _merge(found, target)
    except OSError as error:
        raise GLSimError(f'{archive} cannot be unpacked in {target} ({one_line(error)}); correct that') from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_members(archive: Path) -> Iterator[tuple[PurePosixPath, Iterator[bytes]]]:
    """Yield the relative path and the content of each file in an archive; links and devices are refused.

    The blocks of the content have to be read before the next file is requested.
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
    """Path of a member below the folder it is unpacked in, on every system; one that would leave it is refused."""
    windows = PureWindowsPath(name)
    absolute = PurePosixPath(name).is_absolute() or windows.drive or windows.root
    if absolute or '..' in windows.parts or '\0' in name:
        raise GLSimError(
            f'{archive} has the member {name!r}, which would leave the folder it is unpacked in; do not use it'
        )
    return PurePosixPath(name)


def _read_zip(archive: Path) -> Iterator[tuple[PurePosixPath, Iterator[bytes]]]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            path, kind = safe_path(info.filename, archive), stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _special(archive, info.filename)
            if not info.is_dir() and kind != stat.S_IFDIR:
                with opened.open(info) as stream:
                    yield path, _blocks(stream, archive)


def _read_tar(archive: Path) -> Iterator[tuple[PurePosixPath, Iterator[bytes]]]:
    with tarfile.open(archive) as opened:
        for info in opened:
            path = safe_path(info.name, archive)
            if not (info.isreg() or info.isdir()):
                raise _special(archive, info.name)
            stream = opened.extractfile(info) if info.isreg() else None
            if stream is not None:
                with stream:
                    yield path, _blocks(stream, archive)
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


def _blocks(stream: IO[bytes], archive: Path) -> Iterator[bytes]:
    """Content of a member; errors are caught here because an OSError on writing means something else."""
    try:
        while block := stream.read(_BLOCK):
            yield block
    except _DAMAGED as error:
        raise _damaged(archive, error) from error


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


def _find(folder: Path, provides: Sequence[str], rename: Mapping[str, str], archive: Path) -> Path:
    """Find the topmost folder that has all wanted paths."""
    old_names = {new: old for old, new in rename.items()}

    def in_archive(path: str) -> str:
        first, slash, rest = path.partition('/')
        return old_names.get(first, first) + slash + rest

    wanted = [[in_archive(path) for path in paths.split('|')] for paths in provides]
    level = [folder]
    while level:
        for candidate in level:
            if all(any((candidate / path).exists() for path in paths) for paths in wanted):
                return candidate
        children = (child for candidate in level for child in sorted(candidate.iterdir()))
        level = [child for child in children if child.is_dir() and child.name != _MACOS_COPIES]
    raise GLSimError(
        f'{archive} does not hold {", ".join(paths[0] for paths in wanted)}; it is another archive than expected'
    )


def _merge(source: Path, target: Path) -> None:
    """Move all of a folder into another."""
    for child in sorted(source.iterdir()):
        place = target / child.name
        if child.is_dir() and place.is_dir():
            _merge(child, place)
        elif place.exists() and child.is_dir() != place.is_dir():
            raise GLSimError(f'{place} is in the way, the archive has a file or folder of that name; remove it')
        else:
            try:
                child.replace(place)
            except OSError:  # a folder that is a link to another disk
                shutil.move(child, place)
