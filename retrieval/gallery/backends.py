"""Galleries by their locations: one table says which back-end keeps them, and everything else asks the table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, overload

from ..errors import RetrievalError
from ..index.gpu import read_device
from ..index.presets import check_preset
from ..records import MAX_ID, check_count, check_flag, check_text
from ..vectors import METRICS
from ..whitening import Whitening
from .contract import Fingerprint, GalleryReader, GalleryWriter, Manifest, check_model
from .spaces import Spaces

# By the scheme of a location, '' for a folder: a module with the number FORMAT and the functions create_backend,
# open_backend and backend_exists, which is imported when such a gallery is first named.
BACKENDS = {'': 'retrieval.gallery.folder', 'milvus': 'retrieval.milvus.opening'}
_SCHEME = re.compile(r'([a-z][a-z0-9.-]*)(\+[a-z0-9.-]*)?:')
_SPACE = re.compile(r'[A-Za-z0-9][A-Za-z0-9_-]*')


def is_folder(location: str | Path) -> bool:
    """Whether a location is a path, rather than an address such as ``milvus://...``."""
    return _scheme(location) == ''


def gallery_exists(location: str | Path) -> bool:
    """Whether there is something at a location already."""
    return _backend(location).backend_exists(str(location))


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
    expected_rows: int = 0,
) -> GalleryWriter:
    """Make an empty gallery, open for writing.

    Args:
        location: A folder that does not exist or is empty, or ``milvus://...``.
        spaces: Name and dimension of each kind of embedding, the default one first; a number alone for one kind, named
            ``'embedding'``. Dimensions are those after whitening.
        metric: ``'cosine'``, ``'ip'`` or ``'l2'``.
        preset: Kind of index that ``compact`` builds.
        fingerprint: Identifies the model.
        transforms: Whitening of spaces, some of which may be computed from another one, its ``source``.
        memory_limit: Bytes that ``'auto'`` may fill, and inverted lists while they are built; None for half and a
            quarter of the memory. Only for folders.
        origin: What else to remember about how it was made.
        expected_rows: What ``'auto'`` goes by where the index is chosen before there are rows, as in Milvus.

    Raises:
        RetrievalError: If there is something already, or an argument is out of range.
    """
    dimensions = dict(spaces) if isinstance(spaces, Mapping) else {'embedding': spaces}
    transforms, origin = _named(transforms, Whitening, 'transforms'), _named(origin, str, 'origin')
    _check_new(dimensions, transforms, metric)
    if fingerprint is not None:
        _check_kind(fingerprint, Fingerprint, 'fingerprint')
    _check_kind(preset, str, 'preset')
    check_preset(preset)
    check_count(expected_rows, 'expected_rows', 0, MAX_ID)
    if memory_limit is not None:
        check_count(memory_limit, 'memory_limit', 0, MAX_ID)
        memory_limit = int(memory_limit)
    dimensions = {name: int(dimension) for name, dimension in dimensions.items()}  # NumPy's numbers are no JSON
    backend = _backend(location)
    manifest = Manifest(
        format_version=backend.FORMAT,
        created=datetime.now(timezone.utc).isoformat(timespec='seconds'),
        fingerprint=fingerprint,
        metric=metric,
        spaces=dimensions,
        input_dimensions=_input_dimensions(dimensions, transforms),
        preset=preset,
        origin=origin,
    )
    return backend.create_backend(str(location), manifest, transforms, memory_limit, expected_rows)


@overload
def open_gallery(
    location: str | Path,
    *,
    writable: Literal[True],
    expect: Fingerprint | None = ...,
    dimension: int | None = ...,
    mmap: bool = ...,
    device: str = ...,
) -> GalleryWriter: ...


@overload
def open_gallery(
    location: str | Path,
    *,
    writable: bool = ...,
    expect: Fingerprint | None = ...,
    dimension: int | None = ...,
    mmap: bool = ...,
    device: str = ...,
) -> GalleryReader: ...


def open_gallery(
    location: str | Path,
    *,
    writable: bool = False,
    expect: Fingerprint | None = None,
    dimension: int | None = None,
    mmap: bool = True,
    device: str = 'auto',
) -> GalleryReader:
    """Open a gallery.

    Args:
        location: Folder, or ``milvus://...``.
        writable: Whether it may change; one process at a time may write to a folder, any number to Milvus.
        expect: Fingerprint of the model whose embeddings will be searched; the gallery of another one is refused.
        dimension: Dimension of the embeddings of the first space, before whitening; another one is refused.
        mmap: Whether vectors and indexes of a folder stay on disk, to be read as far as searches need them.
        device: Where to search, as in :class:`retrieval.index.VectorIndex`.

    Raises:
        RetrievalError: If there is none, it is damaged or too new, was made by another model, or another process writes
            to it.
    """
    for flag, name in ((writable, 'writable'), (mmap, 'mmap')):
        check_flag(flag, name)
    if expect is not None:
        _check_kind(expect, Fingerprint, 'expect')
    _check_kind(device, str, 'device')
    read_device(device)
    if dimension is not None:
        check_count(dimension, 'dimension')
    gallery = _backend(location).open_backend(str(location), writable=writable, mmap=mmap, device=device)
    try:
        check_model(gallery.location, gallery.manifest, expect, dimension)
    except BaseException:
        gallery.close()
        raise
    return gallery


def _scheme(location: str | Path) -> str:
    match = _SCHEME.match(str(location))
    return match[1] if match and match[1] in BACKENDS else ''


def _backend(location: str | Path) -> ModuleType:
    if not isinstance(location, (str, Path)) or not str(location):
        raise RetrievalError(f'a gallery is in a folder or at an address such as milvus://..., not at {location!r}')
    check_text(str(location), 'location of a gallery')  # FAISS takes no others
    scheme = _scheme(location)
    if not scheme and '://' in str(location):
        known = ' or '.join(f'{name}://...' for name in BACKENDS if name)
        raise RetrievalError(f'no gallery can be kept at {location}: give a folder, or {known}')
    return import_module(BACKENDS[scheme])


def _check_kind(value: Any, kind: type, name: str) -> None:
    if not isinstance(value, kind):
        raise RetrievalError(f'{name} must be {"text" if kind is str else f"a {kind.__name__}"}, got {value!r}')


def _named(values: Any, kind: type, name: str) -> dict[str, Any]:
    """A dict whose names are texts, and whose values are of one kind; empty for None."""
    if values is not None and not isinstance(values, Mapping):
        raise RetrievalError(f'{name} must be a dict, got {values!r}')
    found = dict(values or {})
    for key, value in found.items():
        _check_kind(key, str, f'a name in {name}')
        _check_kind(value, kind, f'{name}[{key!r}]')
    return found


def _check_new(spaces: Mapping[str, int], transforms: Mapping[str, Any], metric: str) -> None:
    if not isinstance(metric, str) or metric not in METRICS:
        raise RetrievalError(f'metric must be one of {", ".join(METRICS)}, got {metric!r}')
    if not spaces:
        raise RetrievalError('a gallery needs at least one space: name it, with its dimension')
    for name, dimension in spaces.items():
        if not isinstance(name, str) or not _SPACE.fullmatch(name):
            raise RetrievalError(f'{name!r} is not a valid name for a space: use letters, digits, _ and -')
        check_count(dimension, f'the dimension of {name}')
    for name, transform in transforms.items():
        if spaces.get(name) != transform.output_dimension:
            raise RetrievalError(
                f'the whitening of {name} gives dimension {transform.output_dimension}, the gallery has '
                f'{spaces.get(name, "no such space")}'
            )
    for name, transform in transforms.items():
        if transform.source:
            others = {space: one for space, one in transforms.items() if space != name}
            sizes = {space: size for space, size in spaces.items() if space != name}
            Spaces(metric, sizes, others).added(name, transform)


def _input_dimensions(spaces: Mapping[str, int], transforms: Mapping[str, Whitening]) -> dict[str, int]:
    whole = {**spaces, **{space: one.input_dimension for space, one in transforms.items()}}
    sources = {space: one.sources[0] for space, one in transforms.items() if one.source}
    return {space: whole[sources.get(space, space)] for space in spaces}
