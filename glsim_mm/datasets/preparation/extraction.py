"""Unpacking archives: all of it or nothing, and nothing outside the folder."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import GLSimError, one_line
from .archive_members import read_members

_BLOCK = 1 << 20
_MACOS_COPIES = '__MACOSX'  # has the names of all files, but not their content


def extract(
    archive: str | Path, target: str | Path, provides: Sequence[str] = (), rename: Mapping[str, str] | None = None
) -> Path:
    """Unpack an archive into a folder.

    It is unpacked into a folder of its own first, so that a damaged archive or an interruption leaves nothing among
    the data. If the archive holds what is wanted in a folder below its top, what lies beside that folder is left out.
    Files that are there already are replaced.

    Args:
        archive: A zip or tar archive, compressed or not.
        target: The folder.
        provides: Paths that the target must have afterwards; of alternatives separated by ``|`` one. Defaults to
            ``()``, whatever is in the archive.
        rename: New names of files and folders at the level of what is wanted.

    Returns:
        ``target``.

    Raises:
        GLSimError: If the archive is damaged, has a member that is no plain file or would leave the folder, or lacks
            what is wanted, or the target cannot be written.
    """
    archive, target = Path(archive), Path(target)
    # Inside the target, which may be a disk of its own: moving is then renaming.
    temporary = target / f'.unpacking-{archive.name}'
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # left by a run that was killed
        temporary.mkdir(parents=True)
        _unpack(archive, temporary)
        found = _find(temporary, provides, rename or {}, archive)
        for old, new in (rename or {}).items():
            if (found / old).exists():
                (found / old).rename(found / new)
        _merge(found, target)
    except OSError as error:
        raise GLSimError(f'{archive} cannot be unpacked in {target} ({one_line(error)}); correct that') from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _unpack(archive: Path, folder: Path) -> None:
    """Write the members as plain files: neither links nor the modes and owners of the archive reach the disk."""
    for member in read_members(archive):
        path = folder.joinpath(*member.path.parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open('wb') as stream:
            while block := member.stream.read(_BLOCK):
                stream.write(block)


def _find(folder: Path, provides: Sequence[str], rename: Mapping[str, str], archive: Path) -> Path:
    """The topmost folder that has what is wanted."""
    old_names = {new: old for old, new in rename.items()}
    wanted = [[_with_old_name(path, old_names) for path in paths.split('|')] for paths in provides]
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


def _with_old_name(path: str, old_names: Mapping[str, str]) -> str:
    first, slash, rest = path.partition('/')
    return old_names.get(first, first) + slash + rest


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
