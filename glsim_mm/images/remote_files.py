"""Photos behind addresses, such as ``s3://bucket/photos/wren/1.jpg``: the one place that lists and reads them."""

from __future__ import annotations

import glob
import re
from importlib.util import find_spec
from typing import Any

from ..errors import GLSimError, one_line
from .photo_folders import PHOTO_SUFFIXES

_PETREL = ('petrel', 's3')  # of mmengine, and only where their client is installed, which PyPI does not have
_TRIES = 3


def read_remote(address: str) -> bytes:
    """All bytes of a file behind an address.

    ``http(s)://`` and what was registered with mmengine is read by its backends, all else by fsspec, which finds
    credentials in the environment and files of each service. What fails on the way is tried three times.

    Raises:
        OSError: If it is not there, or cannot be read.
        ValueError: If nothing knows such addresses.
        GLSimError: If the package for them is not installed.
    """
    if _is_read_by_mmengine(address):
        from mmengine import fileio

        return fileio.get(address)
    for _ in range(_TRIES - 1):
        try:
            return _read(address)
        except (FileNotFoundError, PermissionError, IsADirectoryError):
            raise
        except OSError:
            continue
    return _read(address)


def list_remote(address: str) -> tuple[str, list[str]] | None:
    """The files that an address stands for: the folder, and their paths below it with slashes, in no order.

    Of a pattern such as ``s3://bucket/photos/**/*.jpg`` they are all that lies below ``s3://bucket/photos``. None for a
    single file, which is taken to be there, and for ``http(s)://``, which cannot be listed.

    Raises:
        GLSimError: If there is nothing, or the package for such addresses is not installed.
    """
    if address.lower().endswith(PHOTO_SUFFIXES) and not glob.has_magic(address):
        return None
    if _is_read_by_mmengine(address):
        return None
    folder = remote_root(address)
    try:
        system, root = _find_system(folder)
        if not glob.has_magic(address) and system.isfile(root):
            return None
        files = system.find(root)
    except (OSError, ValueError) as error:
        raise GLSimError(f'{address} cannot be listed: {one_line(error)}') from error
    if not files:
        raise GLSimError(f'there is nothing at {folder}; check the address')
    below = root.rstrip('/') + '/'
    return folder, [file.removeprefix(below) for file in files]


def remote_root(address: str) -> str:
    """The folder from which a pattern searches; of an address without a pattern, itself."""
    scheme, _, path = address.partition('://')
    parts = path.rstrip('/').split('/')
    fixed = next((number for number, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return f'{scheme}://{"/".join(parts[:fixed])}'


def _read(address: str) -> bytes:
    system, path = _find_system(address)
    return system.cat_file(path)


def _find_system(address: str) -> tuple[Any, str]:
    """fsspec's file system of an address, and its path there."""
    try:
        from fsspec.core import url_to_fs  # local files need no fsspec

        # It keeps file systems itself, by process and thread: one that was kept here would not survive a fork.
        return url_to_fs(address)
    except ImportError as error:  # such as: Install s3fs to access S3
        package = re.search(r'[Ii]nstall (?:the )?"?([\w-]+)', str(error))
        name = package[1] if package else getattr(error, 'name', None) or 'fsspec'
        raise GLSimError(f'{address} needs a package that is not installed: pip install {name}') from error


def _is_read_by_mmengine(address: str) -> bool:
    try:
        from mmengine.fileio.backends import prefix_to_backends
    except ImportError:  # exported models run without it
        return False
    scheme = address.partition('://')[0].rpartition(':')[2]
    if scheme in _PETREL:
        return find_spec('petrel_client') is not None
    return scheme in prefix_to_backends
