"""A folder that takes the place of another one."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from pathlib import Path

_MARK = 'being-replaced'  # without it, no folder is removed
_THIS_FOLDER, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of renameat2(2)


def replace_folder(new: Path, place: Path) -> None:
    """Put a folder in the place of another one, which is removed.

    Linux exchanges them at one moment. Other systems, and some network file systems, take two steps, between which
    there is nothing in the place; if the process is killed there, :func:`undo_half_replacement` puts it right.
    """
    (place / _MARK).touch()
    if exchange_folders(new, place):
        remove_replaced(new)
        return
    os.replace(place, _old(place))
    os.replace(new, place)
    remove_replaced(_old(place))


def undo_half_replacement(place: Path) -> None:
    """Put back what was to be replaced by a process that was killed between two steps, or remove what was replaced."""
    if place.exists():
        remove_replaced(_old(place))
    elif (_old(place) / _MARK).exists():
        os.replace(_old(place), place)
    if (place / _MARK).exists():
        (place / _MARK).unlink()


def remove_replaced(folder: Path) -> None:
    """Remove a folder if it is one that was replaced; else it is somebody's own."""
    if (folder / _MARK).exists():
        for one in folder.iterdir():
            if one.is_dir() and not one.is_symlink():
                shutil.rmtree(one)
            elif one.name != _MARK:
                one.unlink()
        shutil.rmtree(folder)


def _old(place: Path) -> Path:
    return place.with_name(f'{place.name}.replaced')


def exchange_folders(one: Path, other: Path) -> bool:
    """Swap two folders at one moment; whether the system and the file system can."""
    rename = getattr(ctypes.CDLL(None), 'renameat2', None) if sys.platform == 'linux' else None
    if rename is None:
        return False
    return rename(_THIS_FOLDER, os.fsencode(one), _THIS_FOLDER, os.fsencode(other), _EXCHANGE) == 0
