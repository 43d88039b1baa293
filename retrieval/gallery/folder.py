"""Making and opening galleries in folders."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..errors import RetrievalError
from ..index.files import damaged, fsync_file
from ..whitening import Whitening
from .contract import FORMAT_VERSION, Fingerprint
from .database import DATABASE_FILE, Database
from .gallery import Gallery


def backend_exists(location: str) -> bool:
    """Whether there is a file or folder of that name."""
    return Path(location).exists()


def create_backend(
    location: str,
    spaces: Mapping[str, int],
    *,
    metric: str,
    preset: str,
    fingerprint: Fingerprint | None,
    transforms: Mapping[str, Whitening],
    memory_limit: int | None,
    origin: Mapping[str, str],
    expected_rows: int,
) -> Gallery:
    """Make an empty gallery for :func:`retrieval.gallery.create_gallery`, which checks the arguments."""
    root = Path(location)
    if root.exists() and not (root.is_dir() and not any(root.iterdir())):
        raise RetrievalError(f'{root} exists already: open it, or choose another place for the gallery')
    meta = dict(
        format_version=FORMAT_VERSION,
        created=datetime.now(timezone.utc).isoformat(timespec='seconds'),
        fingerprint=None if fingerprint is None else asdict(fingerprint),
        metric=metric,
        spaces=dict(spaces),
        input_dimensions={**spaces, **{name: one.input_dimension for name, one in transforms.items()}},
        preset=preset,
        preset_reason='',
        memory_limit=memory_limit,
        origin=dict(origin),
        generation=0,
        next_id=0,
        next_segment=1,
        patch_shape=None,
    )
    _make_folder(root, meta, {name: one.to_bytes() for name, one in transforms.items()})
    return Gallery(root, writable=True, transforms=transforms)


def open_backend(location: str, *, writable: bool, mmap: bool, device: str) -> Gallery:
    """Open a gallery for :func:`retrieval.gallery.open_gallery`."""
    root = Path(location)
    if not root.exists():
        raise RetrievalError(f'there is no gallery at {root}: build it first, or correct the path')
    if not (root / DATABASE_FILE).is_file():
        raise RetrievalError(f'{root} is no gallery: it has no {DATABASE_FILE}')
    database = Database(root / DATABASE_FILE)
    try:
        meta = database.read_meta()
        contents = database.read_transforms()
    finally:
        database.close()
    if 'format_version' not in meta:
        raise damaged(root / DATABASE_FILE)
    if meta['format_version'] > FORMAT_VERSION:
        raise RetrievalError(
            f'{root} is of format {meta["format_version"]}, this version reads up to {FORMAT_VERSION}: update glsim-mm'
        )
    transforms = {space: Whitening.from_bytes(content) for space, content in contents.items()}
    return Gallery(root, writable, mmap, device, transforms)


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
