"""Keeps the results of slow transforms on disk."""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from zipfile import BadZipFile

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose
from mmengine.logging import print_log
from mmpretrain.registry import TRANSFORMS

from ..errors import GLSimError
from ..version import __version__

_RANDOM = ('Random', 'Auto', 'Albu', 'ColorJitter', 'Lighting', 'torchvision/Random', 'torchvision/Trivial')
_ARRAYS = ('img', 'gt_bboxes')
_PLAIN = ('img_shape', 'ori_shape', 'scale', 'scale_factor', 'keep_ratio')


@TRANSFORMS.register_module()
class CachedTransforms(BaseTransform):
    """Loads and resizes each image once; from then on the result is read from disk, bit for bit the same.

    For the steps at the start of a training pipeline that draw nothing at random: decoding a large photo and resizing
    it takes many times as long as reading what comes out. An entry belongs to a file (path, time of change, size) and
    to the settings of the steps, so a changed photo or pipeline gets a new one. Entries are written whole or not at
    all, so several workers and ranks can share a folder; a damaged one is replaced. Where nothing can be written, for
    example on a full disk, the steps run without the cache after one warning. Entries are never deleted: when they are
    no longer needed, remove the folder::

        dict(type='CachedTransforms', cache_dir='work_dirs/cache',
             transforms=[dict(type='LoadImage'), dict(type='Resize', scale=(300, 300))])

    Args:
        transforms: The steps, the first of which loads, for example ``LoadImage`` and ``Resize``.
        cache_dir: Folder for the entries. One of (300, 300) pixels takes 270 kB.

    Raises:
        GLSimError: If a step draws at random.
    """

    def __init__(self, transforms: Sequence[dict], cache_dir: str) -> None:
        names = [step['type'] if isinstance(step['type'], str) else step['type'].__name__ for step in transforms]
        drawn = [name for name in names if name.rpartition('.')[2].startswith(_RANDOM)]
        if drawn:
            raise GLSimError(f'CachedTransforms: {drawn[0]} draws at random; move it behind the cached steps')
        self.transforms = Compose([TRANSFORMS.build(dict(step)) for step in transforms])
        self.cache_dir = Path(cache_dir)
        named = [dict(step, type=name) for step, name in zip(transforms, names)]
        settings = json.dumps(named, sort_keys=True, default=str)
        self._settings = f'{__version__}\n{np.__version__}\n{settings}'
        self._writes = True

    def transform(self, results: dict) -> dict | None:
        """Run the steps on the image at ``img_path``, or read their result; None if they skip the image."""
        entry = self._entry(results.get('img_path'), results.get('gt_bboxes'))
        if entry is not None:
            kept = _read(entry)
            if kept is not None:
                return {**results, **kept}
        made = self.transforms(results)
        if made is not None and entry is not None and self._writes:
            self._write(entry, made)
        return made

    def __repr__(self) -> str:
        return f'{type(self).__name__}(transforms={self.transforms}, cache_dir={str(self.cache_dir)!r})'

    def _entry(self, path: str | None, boxes: Any) -> Path | None:
        """File of the entry of an image; None if the image is not a local file."""
        if not path:
            return None
        try:
            state = os.stat(path)
        except OSError:
            return None
        boxes = b'' if boxes is None else np.asarray(boxes).tobytes()
        key = f'{os.path.abspath(path)}\n{state.st_mtime_ns}\n{state.st_size}\n{self._settings}'.encode() + boxes
        name = hashlib.sha256(key).hexdigest()
        return self.cache_dir / name[:2] / f'{name[2:]}.npz'

    def _write(self, entry: Path, made: dict) -> None:
        arrays = {name: np.asarray(made[name]) for name in _ARRAYS if name in made}
        plain = {name: made[name] for name in _PLAIN if name in made}
        text = json.dumps(plain, default=lambda number: number.item()).encode()  # numpy's numbers
        name = None
        try:
            entry.parent.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=entry.parent, delete=False) as file:
                name = file.name
                np.savez(file, plain=np.frombuffer(text, np.uint8), **arrays)
            os.replace(name, entry)
        except OSError as error:
            self._writes = False
            if name is not None:
                Path(name).unlink(missing_ok=True)
            print_log(
                f'CachedTransforms goes on without writing to {self.cache_dir}: {error.strerror or error}',
                logger='current',
                level=logging.WARNING,
            )


def _read(entry: Path) -> dict | None:
    """Read an entry; None if it does not exist or is damaged."""
    try:
        with np.load(entry, allow_pickle=False) as content:
            plain = json.loads(content['plain'].tobytes())
            arrays = {name: content[name] for name in content.files if name != 'plain'}
    except (OSError, ValueError, KeyError, EOFError, ImportError, RuntimeError, BadZipFile):
        return None
    kept = {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
    return {**kept, **arrays} if 'img' in arrays else None
