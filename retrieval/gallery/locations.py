"""Galleries by their locations: made, opened, merged, verified."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import RetrievalError
from ..index.files import damaged, fsync_file
from ..vectors import METRICS
from ..whitening import Whitening
from .database import DATABASE_FILE, Database
from .gallery import Gallery
from .interface import FORMAT_VERSION, Fingerprint, Manifest
from .segments import describe_file

_SPACE = re.compile(r'[A-Za-z0-9][A-Za-z0-9_-]*')
_ROWS_AT_ONCE = 65_536


def create_gallery(
    location: str | Path,
    spaces: Mapping[str, int] | int,
    *,
    metric: str = 'cosine',
    preset: str = 'auto',
    fingerprint: Fingerprint | None = None,
    transforms: Mapping[str, Any] | None = None,
    memory_limit: int | None = None,
    origin: Mapping[str, str] | None = None,
) -> Any:
    """Make an empty gallery, open for writing.

    Args:
        location: A folder that does not exist or is empty, or ``milvus://...``.
        spaces: Name and dimension of each kind of embedding, the default one first; a number alone for one kind, named
            ``'embedding'``. Dimensions are those after whitening.
        metric: ``'cosine'``, ``'ip'`` or ``'l2'``.
        preset: Kind of index that ``compact`` builds.
        fingerprint: Of the model.
        transforms: Whitening of spaces.
        memory_limit: Bytes that ``'auto'`` may fill, and inverted lists while they are built. Defaults to half and a
            quarter of the memory.
        origin: What else to remember of how it was made.

    Returns:
        Gallery: Empty.

    Raises:
        RetrievalError: If something is there already, or an argument is out of range.
    """
    dimensions = {'embedding': spaces} if isinstance(spaces, int) else dict(spaces)
    transforms = dict(transforms or {})
    _check_new(dimensions, transforms, metric)
    if is_milvus(location):
        from ..milvus.opening import create_milvus_gallery

        options = dict(metric=metric, preset=preset, fingerprint=fingerprint, transforms=transforms, origin=origin)
        return create_milvus_gallery(str(location), dimensions, **options)  # type: ignore[arg-type]
    root = Path(location)
    if root.exists() and not (root.is_dir() and not any(root.iterdir())):
        raise RetrievalError(f'{root} exists already: open it, or choose another place for the gallery')
    meta = dict(
        format_version=FORMAT_VERSION,
        created=datetime.now(timezone.utc).isoformat(timespec='seconds'),
        fingerprint=None if fingerprint is None else asdict(fingerprint),
        metric=metric,
        spaces=dimensions,
        input_dimensions={**dimensions, **{name: one.input_dimension for name, one in transforms.items()}},
        preset=preset,
        preset_reason='',
        memory_limit=memory_limit,
        origin=dict(origin or {}),
        generation=0,
        next_id=0,
        next_segment=1,
        patch_shape=None,
    )
    _make_folder(root, meta, {name: one.to_bytes() for name, one in transforms.items()})
    return Gallery(root, writable=True, transforms=transforms)


def open_gallery(
    location: str | Path,
    *,
    writable: bool = False,
    expect: Fingerprint | None = None,
    dimension: int | None = None,
    mmap: bool | str = 'auto',
    device: str = 'auto',
) -> Any:
    """Open a gallery.

    Args:
        location: Folder, or ``milvus://...``.
        writable: Whether it may change; one process at a time may.
        expect: Of the model that will be asked; another one is refused.
        dimension: Of the embeddings of the first space, before whitening; another one is refused.
        mmap: Leave vectors and indexes on disk. Defaults to ``'auto'``, which does.
        device: ``'auto'``, ``'cpu'`` or ``'gpu'``, where to search.

    Returns:
        Gallery: Open.

    Raises:
        RetrievalError: If there is none, it is damaged or too new, was made by another model, or another process writes
            to it.
    """
    if is_milvus(location):
        from ..milvus.opening import open_milvus_gallery

        return open_milvus_gallery(str(location), writable=writable, expect=expect, dimension=dimension)
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
    gallery = Gallery(root, writable, mmap in (True, 'auto'), device, transforms)
    try:
        check_model(root, gallery.manifest, expect, dimension)
    except RetrievalError:
        gallery.close()
        raise
    return gallery


def check_model(
    location: str | Path, manifest: Manifest, expect: Fingerprint | None = None, dimension: int | None = None
) -> None:
    """Refuse the embeddings of another model.

    Args:
        location: For messages.
        manifest: Of the gallery.
        expect: Of the model. Galleries of unknown origin are not refused.
        dimension: Of its embeddings in the first space.

    Raises:
        RetrievalError: If they do not belong together; it says what differs.
    """
    first = next(iter(manifest.spaces))
    known = manifest.input_dimensions.get(first, manifest.spaces[first])
    if dimension is not None and dimension != known:
        raise RetrievalError(
            f'{location} holds embeddings of dimension {known}, not {dimension}: use the model that made it, or build '
            'it anew'
        )
    if expect is None or manifest.fingerprint is None:
        return
    differing = manifest.fingerprint.differences(expect)
    if differing:
        made_by = f' ({manifest.fingerprint.description})' if manifest.fingerprint.description else ''
        raise RetrievalError(
            f'{location} was made by another model{made_by}: its {" and ".join(differing)} '
            f'{"differs" if len(differing) == 1 else "differ"}; use that model, or build the gallery anew'
        )


def merge_galleries(
    sources: Sequence[str | Path], target: str | Path, *, renumber: bool = False, preset: str | None = None
) -> Gallery:
    """Put galleries of one model into a new one, which takes its place when it is whole.

    Args:
        sources: Folders of at least one gallery.
        target: A folder that does not exist or is empty.
        renumber: Give new ids. Defaults to False: ids are kept, and must be different.
        preset: Kind of index. Defaults to that of the first gallery.

    Returns:
        The new one, open for writing.

    Raises:
        RetrievalError: If galleries do not belong together, ids repeat, or the target is there.
    """
    if not sources:
        raise RetrievalError('name at least one gallery to merge')
    root = Path(target)
    if root.exists() and not (root.is_dir() and not any(root.iterdir())):
        raise RetrievalError(f'{root} exists already: choose another place for the merged gallery')
    opened = [open_gallery(source) for source in sources]
    first = opened[0].manifest
    building = root.with_name(f'{root.name}.merging')
    shutil.rmtree(building, ignore_errors=True)
    try:
        for source, gallery in zip(sources, opened):
            _check_alike(source, gallery.manifest, first)
        merged = create_gallery(
            building,
            first.spaces,
            metric=first.metric,
            preset=preset or first.preset,
            fingerprint=first.fingerprint,
            transforms=opened[0].transforms,
            origin=first.origin,
        )
        with merged:
            for gallery in opened:
                _copy_rows(gallery, merged, renumber)
            merged.compact()
        if root.exists():
            root.rmdir()
        os.replace(building, root)
        fsync_file(root.parent)
    finally:
        for gallery in opened:
            gallery.close()
        shutil.rmtree(building, ignore_errors=True)
    return open_gallery(root, writable=True)


def verify_gallery(location: str | Path) -> None:
    """Read every file of a gallery and compare checksums; it may be written meanwhile.

    Args:
        location: Folder; of a gallery in Milvus, which checks its own files, only that it opens.

    Raises:
        RetrievalError: If a file is not as it was written; it says which.
    """
    with open_gallery(location) as gallery:
        if is_milvus(location):
            return
        verified: set[str] = set()
        while True:
            generation = gallery.manifest.generation
            try:
                gallery._database.check()
                _verify_files(gallery, verified)
                return
            except RetrievalError:
                gallery.refresh()
                if gallery.manifest.generation == generation:
                    raise
                # A writer has replaced files since they were listed: those that are listed now count.


def is_milvus(location: str | Path) -> bool:
    """Whether a location is in Milvus rather than a folder."""
    return str(location).startswith(('milvus:', 'milvus+'))


def _verify_files(gallery: Gallery, verified: set[str]) -> None:
    """Compare checksums of the files that are not verified yet; files never change once they are listed."""
    for name, facts in gallery.manifest.files.items():
        if name not in verified:
            if describe_file(gallery.root / name)['sha256'] != facts['sha256']:
                raise damaged(gallery.root / name)
            verified.add(name)


def _copy_rows(source: Gallery, target: Gallery, renumber: bool) -> None:
    numbers = source.ids()
    for start in range(0, len(numbers), _ROWS_AT_ONCE):
        ids = numbers[start : start + _ROWS_AT_ONCE]
        vectors = {name: source.vectors(ids, name) for name in source.manifest.spaces}
        target.add(vectors, source.records(ids), None if renumber else ids, source.patches(ids), transformed=True)


def _check_alike(source: str | Path, manifest: Manifest, first: Manifest) -> None:
    for name in ('spaces', 'input_dimensions', 'metric'):
        if getattr(manifest, name) != getattr(first, name):
            raise RetrievalError(f'{source} has other {name} than the first gallery: they cannot be merged')
    one, other = manifest.fingerprint, first.fingerprint
    if (one is None) != (other is None) or (one and other and one.differences(other)):
        raise RetrievalError(f'{source} was made by another model than the first gallery: they cannot be merged')


def _check_new(spaces: Mapping[str, int], transforms: Mapping[str, Any], metric: str) -> None:
    if metric not in METRICS:
        raise RetrievalError(f'metric must be one of {", ".join(METRICS)}, got {metric!r}')
    if not spaces:
        raise RetrievalError('a gallery needs at least one space: name it, with its dimension')
    for name, dimension in spaces.items():
        if not _SPACE.fullmatch(name):
            raise RetrievalError(f'{name!r} is no name for a space: use letters, digits, _ and -')
        if not isinstance(dimension, (int, np.integer)) or dimension < 1:
            raise RetrievalError(f'the dimension of {name} must be at least 1, got {dimension!r}')
    for name, transform in transforms.items():
        if spaces.get(name) != transform.output_dimension:
            raise RetrievalError(
                f'the whitening of {name} gives dimension {transform.output_dimension}, the gallery has '
                f'{spaces.get(name, "no such space")}'
            )


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
