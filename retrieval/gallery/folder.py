"""Making and opening galleries in folders: embeddings in FAISS's files, records in SQLite."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

from ..errors import RetrievalError
from ..index.part import damaged, fsync_file
from ..whitening import Whitening
from .contract import Manifest
from .database import DATABASE_FILE, Database
from .database import FORMAT as FORMAT
from .folder_reader import ATTEMPTS, FolderReader, file_number
from .folder_writer import FolderWriter, check_log


def backend_exists(location: str) -> bool:
    """Whether there is a file or folder of that name."""
    return Path(location).exists()


def create_backend(
    location: str,
    manifest: Manifest,
    transforms: Mapping[str, Whitening],
    memory_limit: int | None,
    expected_rows: int,
) -> FolderWriter:
    """Make an empty gallery for :func:`retrieval.gallery.create_gallery`, which checks the arguments."""
    root = Path(location)
    if root.exists() and not (root.is_dir() and not any(root.iterdir())):
        raise RetrievalError(f'{root} exists already: open it, or choose another place for the gallery')
    meta = asdict(manifest) | dict(memory_limit=memory_limit, next_id=0, next_segment=1, patch_shape=None)
    meta['identity'] = uuid4().hex
    del meta['counts'], meta['files']  # the segments tell
    _make_folder(root, meta, {name: one.to_bytes() for name, one in transforms.items()})
    return FolderWriter(root)


def open_backend(location: str, *, writable: bool, mmap: bool, device: str) -> FolderReader:
    """Open a gallery for :func:`retrieval.gallery.open_gallery`."""
    root = Path(location)
    path = root / DATABASE_FILE
    if not root.exists():
        raise RetrievalError(f'there is no gallery at {root}: build it first, or correct the path')
    if not path.is_file():
        raise RetrievalError(f'{root} is not a gallery: it has no {DATABASE_FILE}')
    for _ in range(ATTEMPTS):
        file = file_number(path)
        gallery = _open(root, writable, mmap, device)
        if file_number(path) == file:
            return gallery
        gallery.close()  # another gallery took its place, whose format was not looked at
    raise RetrievalError(f'{root} is replaced faster than it can be opened: try again when less is written')


def _open(root: Path, writable: bool, mmap: bool, device: str) -> FolderReader:
    check_log(root)
    path = root / DATABASE_FILE
    database = Database(path)
    try:
        meta = database.read_meta()
    finally:
        database.close()
    if 'format_version' not in meta:
        raise damaged(path)
    if meta['format_version'] > FORMAT:
        raise RetrievalError(
            f'{root} is of format {meta["format_version"]}, this version reads up to {FORMAT}: update glsim-mm'
        )
    return (FolderWriter if writable else FolderReader)(root, mmap, device)


def _make_folder(root: Path, meta: Mapping[str, Any], transforms: Mapping[str, bytes]) -> None:
    """The folder of an empty gallery, which appears whole."""
    making = root.with_name(f'{root.name}.new-{os.getpid()}')
    shutil.rmtree(making, ignore_errors=True)
    try:
        making.mkdir(parents=True)
        database = Database(making / DATABASE_FILE, writable=True, create=True)
        with database.transaction():
            database.write_meta(meta)
            database.write_transforms(transforms)
        database.close()
        if root.exists():
            root.rmdir()
        os.replace(making, root)
        fsync_file(root.parent)
    except OSError as error:
        raise RetrievalError(f'{root} cannot be made ({error.strerror}): choose another place') from error
    finally:
        shutil.rmtree(making, ignore_errors=True)
