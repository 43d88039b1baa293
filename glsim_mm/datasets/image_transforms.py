"""Transforms that load photos, some of which may be unreadable, and that crop them together with their boxes."""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmengine.logging import print_log
from mmpretrain.datasets.transforms import RandomCrop
from mmpretrain.registry import TRANSFORMS
from torch.utils.data import get_worker_info

from ..errors import GLSimError
from ..images.decoding import WHITE, UnreadableImageError, check_background, check_decoder, decode_reduced

CHOICES = ('skip', 'blank', 'error')


class SharedCounter:
    """Counts events in all worker processes, forked or spawned.

    Every worker adds to a slot of its own, so no lock is needed; a copy keeps the count and goes on by itself.
    """

    _SLOTS = 1024

    def __init__(self) -> None:
        self._counts = torch.zeros(self._SLOTS, dtype=torch.int64).share_memory_()

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._counts.share_memory_()  # a plain copy's memory is private; that of a spawned worker is shared already

    def add_one(self) -> None:
        """Count one event."""
        worker = get_worker_info()
        self._counts[0 if worker is None else 1 + worker.id % (self._SLOTS - 1)] += 1

    @property
    def total(self) -> int:
        """Events so far in all processes."""
        return int(self._counts.sum())


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """Loads an image as 8-bit BGR; an unreadable file (missing, empty, damaged, too large) does not end a run.

    Required key: ``img_path``. Added keys: ``img`` (H, W, 3), ``img_shape`` and ``ori_shape``, both (H, W). A sample
    without ``img_path`` that has its ``img`` already, as mmpretrain's inferencers make them, passes unchanged.

    Each unreadable path is logged once per process, and counted in :attr:`num_unreadable` whenever it is met::

        test_pipeline = [dict(type='LoadImage', on_unreadable='blank'), ...]

    Args:
        on_unreadable: ``'skip'``: return None, upon which mmengine's data sets take another sample at random, for
            training. ``'blank'``: an image of the mean colour of ImageNet in its place, so that the photo stays in the
            evaluation set, for testing. ``'error'``: raise.
        min_side: A JPEG may be decoded at a half, a quarter or an eighth of its size as long as both sides keep this
            many pixels, which takes a fraction of the time. For training: pixels differ a little from those of the
            whole image, resized. Give at least the size that the next step resizes to. ``gt_bboxes`` are scaled.
            Defaults to 0, the whole image.
        decoder: ``'opencv'`` or ``'turbojpeg'`` for JPEG files, which give the same pixels.
        background: Red, green and blue, 0 to 255, behind transparent pixels. That of the test pipeline holds for
            predictions, search and exported models too.
        to_float32: Return float32 with the same values.
        backend_args: mmengine's file backend. Defaults to None, which goes by the path.

    Raises:
        GLSimError: If an option is unknown or out of range, if an image is unreadable with ``'error'``, or if none of
            the first 100 images is readable with ``'skip'``.
    """

    BLANK_SHAPE = (224, 224)
    BLANK_COLOR = (104, 116, 124)  # BGR
    MAX_FIRST_MISSES = 100

    def __init__(
        self,
        on_unreadable: str = 'skip',
        *,
        min_side: int = 0,
        decoder: str = 'opencv',
        background: Sequence[int] = WHITE,
        to_float32: bool = False,
        backend_args: dict | None = None,
    ) -> None:
        super().__init__(to_float32=to_float32, backend_args=backend_args)
        if on_unreadable not in CHOICES:
            raise GLSimError(f'LoadImage: on_unreadable must be one of {", ".join(CHOICES)}, got {on_unreadable!r}')
        if min_side < 0:
            raise GLSimError(f'LoadImage: min_side must be 0 or more pixels, got {min_side}')
        check_decoder(decoder)
        self.on_unreadable = on_unreadable
        self.min_side = min_side
        self.decoder = decoder
        self.background = check_background(background)
        self._counter = SharedCounter()
        self._told: set[str] = set()
        self._first_misses = 0
        self._found_one = False

    @property
    def num_unreadable(self) -> int:
        """How many unreadable images all worker processes together have met so far."""
        return self._counter.total

    def transform(self, results: dict) -> dict | None:
        """Load the image of a sample; None if it is unreadable and has to be skipped."""
        if 'img' in results and 'img_path' not in results:
            return results
        path = results['img_path']
        image: np.ndarray | None
        try:
            content = fileio.get(path, backend_args=self.backend_args)
            image, whole = decode_reduced(content, self.min_side, self.decoder, self.background)
            self._found_one = True
        except (OSError, UnreadableImageError) as error:
            image = self._replace(path, error)
            whole = self.BLANK_SHAPE
        if image is None:
            return None
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        results['img_shape'], results['ori_shape'] = image.shape[:2], whole
        if image.shape[:2] != whole and 'gt_bboxes' in results:
            scale = np.array([image.shape[1] / whole[1], image.shape[0] / whole[0]] * 2, np.float32)
            results['gt_bboxes'] = results['gt_bboxes'] * scale
        return results

    def _replace(self, path: str, error: Exception) -> np.ndarray | None:
        if self.on_unreadable == 'error':
            raise GLSimError(f'image {path} cannot be read ({error}); replace or remove it') from error
        self._counter.add_one()
        if path not in self._told:
            self._told.add(path)
            print_log(f'image {path} cannot be read: {error}', logger='current', level=logging.WARNING)
        if self.on_unreadable == 'blank':
            return np.full((*self.BLANK_SHAPE, 3), self.BLANK_COLOR, np.uint8)
        # Stop where a wrong folder is likely, rather than search it for a readable image forever.
        self._first_misses += 1
        if not self._found_one and self._first_misses >= self.MAX_FIRST_MISSES:
            raise GLSimError(
                f'none of the first {self.MAX_FIRST_MISSES} images can be read, the last being {path}; '
                "check the data set's data_root and data_prefix"
            )
        return None

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(on_unreadable={self.on_unreadable!r}, min_side={self.min_side}, '
            f'decoder={self.decoder!r}, background={self.background}, to_float32={self.to_float32}, '
            f'backend_args={self.backend_args})'
        )


@TRANSFORMS.register_module()
class RandomCropWithBoxes(RandomCrop):
    """mmpretrain's :class:`RandomCrop`, except that ``gt_bboxes`` are moved and clipped with the image.

    It draws the same random numbers. A box that lies outside the crop becomes empty, at the border of the crop::

        train_pipeline = [dict(type='LoadImage'), dict(type='RandomCropWithBoxes', crop_size=224), ...]

    Args:
        crop_size: Height and width in pixels; an image that is smaller is not padded.
    """

    def __init__(self, crop_size: int | tuple[int, int]) -> None:
        super().__init__(crop_size)

    def transform(self, results: dict) -> dict:
        """Crop ``img``, (H, W, 3), and move ``gt_bboxes``, (n, 4) ``x0, y0, x1, y1`` in pixels, if there are any."""
        y, x, height, width = self.rand_crop_params(results['img'])
        results['img'] = results['img'][y : y + height, x : x + width]
        results['img_shape'] = results['img'].shape
        if 'gt_bboxes' in results:
            moved = results['gt_bboxes'] - np.array([x, y, x, y], np.float32)
            results['gt_bboxes'] = np.clip(moved, 0, np.array([width, height, width, height], np.float32))
        return results
