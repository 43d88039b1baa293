"""Galleries that change places while readers have them open."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from ..errors import RetrievalError
from ..index.part import fsync_file
from .backends import is_folder
from .database import DATABASE_FILE
from .lock import WriteLock
from .replacing import exchange_folders


def swap_galleries(location: str | Path, other: str | Path) -> str:
    """Put another gallery in the place of one, by one atomic rename; a second call takes it back.

    Two folders change places, which needs Linux and a file system that can (ext4, XFS, Btrfs, tmpfs). Where the
    location is a symbolic link, the link leads to the other gallery afterwards, which works everywhere. At every moment
    there is a whole gallery at the location. Open readers go on with the old one; if another model made the new one,
    ``refresh`` tells them to open it again.

    Args:
        location: Folder of a gallery, or a symbolic link to one.
        other: Folder of the gallery that is to be there, on the same file system.

    Returns:
        A sentence that says where each gallery is now.

    Raises:
        RetrievalError: If one is no gallery in a folder or is being written, both are the same, or they cannot change
            places.
    """
    first, second = Path(location), Path(other)
    for place in (location, other):
        if not is_folder(str(place)) or not Path(place, DATABASE_FILE).is_file():
            raise RetrievalError(f'{place} is no gallery in a folder: only these change places')
    if first.resolve() == second.resolve():
        raise RetrievalError(f'{first} and {second} are the same gallery: name two')
    if second.is_symlink():
        raise RetrievalError(f'{second} is a symbolic link: name the folder that it leads to')
    with ExitStack() as stack:
        for place in (first, second):  # nobody writes to a gallery that is no more what it was
            stack.callback(WriteLock(place).release)
        if first.is_symlink():
            return _turn_link(first, second)
        if not exchange_folders(first, second):
            raise RetrievalError(
                f'{first} and {second} cannot change places at one moment on this system or file system: let a '
                'symbolic link lead to the gallery, and name the link'
            )
        for place in (first, second):
            fsync_file(place.resolve().parent)
    return f'{first} is what {second} was, and the other way round'


def _turn_link(link: Path, target: Path) -> str:
    before = os.readlink(link)
    turned = link.with_name(f'{link.name}.new-{os.getpid()}')
    try:
        turned.symlink_to(os.path.relpath(target.resolve(), link.parent.resolve()))
        os.replace(turned, link)
    except OSError as error:
        turned.unlink(missing_ok=True)
        raise RetrievalError(f'{link} cannot be changed ({error.strerror}): check who owns its folder') from error
    fsync_file(link.parent.resolve())
    return f'{link} leads to {target}; before it led to {before}'
