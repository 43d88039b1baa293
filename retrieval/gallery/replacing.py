"""A folder that takes the place of another one."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from pathlib import Path

_THIS_FOLDER, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of renameat2(2)


def replace_folder(new: Path, place: Path) -> None:
    """Put a folder in the place of another one, which is removed.

    Linux exchanges them at one moment. Other systems, and some network file systems, take two steps, between which
    there is nothing in the place; if the process is killed there, :func:`undo_half_replacement` puts it right.
    """
    if _exchange(new, place):
        shutil.rmtree(new)
        return
    old = _old(place)
    os.replace(place, old)
    os.replace(new, place)
    shutil.rmtree(old)


def undo_half_replacement(place: Path) -> None:
    """Put back what was to be replaced by a process that was killed between two steps, or remove what was replaced."""
    old = _old(place)
    if old.exists():
        if place.exists():
            shutil.rmtree(old)
        else:
            os.replace(old, place)


def _old(place: Path) -> Path:
    return place.with_name(f'{place.name}.replaced')


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders at one moment; whether the system and the file system can."""
    rename = getattr(ctypes.CDLL(None), 'renameat2', None) if sys.platform == 'linux' else None
    if rename is None:
        return False
    return rename(_THIS_FOLDER, os.fsencode(one), _THIS_FOLDER, os.fsencode(other), _EXCHANGE) == 0
