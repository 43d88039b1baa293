"""The off-centre protocol: test photos whose object lies small and anywhere, before a background of other photos.

Photographers put what they show in the middle, so that on most data sets a crop of the middle is hard to beat, and says
nothing about photos that nobody composed. Here each test photo is shrunk and shifted within a larger frame. What fills
the frame comes from the border of another photo, where no object is, so that there is no second object to find.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import PurePath

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine import fileio
from mmengine.logging import print_log
from mmpretrain.registry import DATASETS, TRANSFORMS

from ..errors import GLSimError
from ..images.decoding import UnreadableImageError, decode_reduced

_DRAWS = 8  # of which the photo with the largest border becomes the background
_BORDER = 0.2  # share of a photo without a box that counts as its border
_ENOUGH = 0.2  # share of a photo that makes a background without drawing on


@TRANSFORMS.register_module()
class OffCentre(BaseTransform):
    """Shrinks a photo and shifts it within a frame that the border of another photo fills; the same for every run.

    It comes before ``Resize``. The frame has the shape of the photo, whose pixels stay as they are: the frame grows, so
    that a second look finds the detail that the photo has. Place, size and background depend on ``seed`` and on the
    last two parts of the photo's path, and on nothing else. Boxes go with the photo.

    No label leaks: backgrounds are drawn from all ``backgrounds`` alike, whatever the class of either photo (to draw
    from other classes only would tell which class it is not), and hold nothing of an annotated object. What fills the
    frame is the largest strip above, below, left or right of the other photo's boxes, at the scale at which that photo
    would fill the frame, mirrored as often as needed. It is that of the first photo drawn whose strip is a fifth of it,
    or the largest of 8. Of a photo without boxes it is a fifth at one side, which may show a part of an object.

    Args:
        backgrounds: Config of a data set of mmengine, whose pipeline is not run. Take the training split.
        scale: Least and greatest share of the frame's height and width that the photo takes, above 0 and at most 1.
        kept: Share of height and width that a ``CenterCrop`` further on keeps, ``crop_size / scale`` of ``Resize``.
            The same share of the photo's middle is what is shrunk and shifted, within what will be kept: as much of the
            photo is seen as without this step. Defaults to 1, no such step.
        seed: Another one gives other places and backgrounds.

    Raises:
        GLSimError: If an argument is out of range, the data set has no other photo, or all photos drawn are unreadable.

    Example::

        backgrounds = dict(type='CUBFormat', data_root='data/cub50', split='train')
        test_pipeline = [
            dict(type='LoadImage'),
            dict(type='OffCentre', backgrounds=backgrounds),
            dict(type='Resize', scale=224, backend='pillow', interpolation='bicubic'),
            dict(type='PackInputs'),
        ]
    """

    def __init__(
        self, backgrounds: Mapping, scale: Sequence[float] = (0.4, 0.8), kept: float = 1.0, seed: int = 0
    ) -> None:
        if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
            raise GLSimError(f'OffCentre: scale has two shares, above 0 and at most 1, the least first; got {scale}')
        if not 0 < kept <= 1:
            raise GLSimError(f'OffCentre: kept must be above 0 and at most 1, got {kept}')
        self.backgrounds = {**backgrounds, 'pipeline': []} if 'pipeline' in backgrounds else dict(backgrounds)
        self.scale = (float(scale[0]), float(scale[1]))
        self.kept = kept
        self.seed = seed
        self._samples: list[dict] | None = None

    def transform(self, results: dict) -> dict:
        """Put the photo of a sample, ``img`` (H, W, 3) with ``gt_bboxes`` (n, 4) if there are any, into its frame."""
        photo, path = results['img'], str(results['img_path'])
        random = np.random.default_rng(_number(self.seed, path))
        share = random.uniform(*self.scale)
        place = random.uniform(size=2)
        size = np.array(photo.shape[:2])
        seen = np.maximum(1, np.round(size * self.kept)).astype(int)
        frame = np.maximum(seen, np.round(size / share).astype(int))
        start = (size - seen) // 2
        # Where the seen part begins in the frame: anywhere in the middle that will be kept.
        first = np.round((frame - frame * self.kept) / 2 + place * np.maximum(frame * self.kept - seen, 0)).astype(int)
        first = np.clip(first, 0, frame - seen)
        image = self._background(path, frame, random).astype(photo.dtype)
        part = photo[start[0] : start[0] + seen[0], start[1] : start[1] + seen[1]]
        image[first[0] : first[0] + seen[0], first[1] : first[1] + seen[1]] = part
        results['img'] = image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        if 'gt_bboxes' in results:
            moved = results['gt_bboxes'] - np.tile(start[::-1], 2)
            moved = np.clip(moved, 0, np.tile(seen[::-1], 2)) + np.tile(first[::-1], 2)
            results['gt_bboxes'] = moved.astype(np.float32)
        return results

    def _background(self, path: str, frame: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """A picture of the size of the frame, (H, W, 3), of the border of another photo."""
        if self._samples is None:
            self._samples = _read_samples(self.backgrounds)
        drawn = [self._samples[number] for number in random.integers(len(self._samples), size=_DRAWS)]
        best: tuple[float, np.ndarray, float] | None = None
        for sample in drawn:
            if str(sample['img_path']) == path:
                continue
            try:
                other = decode_reduced(fileio.get(sample['img_path']), 0)[0]
            except (OSError, UnreadableImageError) as error:
                print_log(f'{sample["img_path"]} is no background: {error}', logger='current', level=logging.WARNING)
                continue
            strip = _border(other, np.asarray(sample.get('gt_bboxes', ())).reshape(-1, 4), random)
            share = strip.size / other.size
            if best is None or share > best[0]:
                best = share, strip, max(frame / other.shape[:2])
            if share >= _ENOUGH:
                break
        if best is None:
            raise GLSimError('OffCentre: backgrounds has no other photo that can be read; give the training split')
        return _fill(*best[1:], frame)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(scale={self.scale}, kept={self.kept}, seed={self.seed})'


def off_centre_pipeline(pipeline: Sequence[Mapping], backgrounds: Mapping, seed: int = 0) -> list[dict]:
    """A test pipeline with :class:`OffCentre` before its ``Resize``, which sees as much of each photo as before.

    Args:
        pipeline: Steps with a square ``Resize`` and, if any, a square ``CenterCrop`` after it; other kinds are a
            :class:`GLSimError`.
        backgrounds: See :class:`OffCentre`.
        seed: See :class:`OffCentre`.
    """
    steps = [dict(step) for step in pipeline]
    names = [step['type'].split('.')[-1] for step in steps]
    resizes = [number for number, name in enumerate(names) if name == 'Resize']
    if not resizes or 'OffCentre' in names:
        raise GLSimError(
            'the off-centre protocol needs a test pipeline with Resize and without OffCentre; correct the config'
        )
    sides = [steps[resizes[-1]]['scale'], *(step['crop_size'] for step in steps if step['type'].endswith('CenterCrop'))]
    widths = [side if isinstance(side, int) else side[0] for side in sides]
    kept = min(1.0, widths[-1] / widths[0])
    steps.insert(resizes[0], dict(type='OffCentre', backgrounds=backgrounds, kept=kept, seed=seed))
    return steps


def _number(seed: int, path: str) -> int:
    """A whole number that the seed and the last two parts of a path decide, on every machine."""
    name = '/'.join(PurePath(path.replace('\\', '/')).parts[-2:])
    return int.from_bytes(hashlib.blake2b(f'{seed} {name}'.encode(), digest_size=8).digest(), 'big')


def _read_samples(config: Mapping) -> list[dict]:
    """Paths and boxes of a data set's photos."""
    dataset = DATASETS.build(dict(config))
    dataset.full_init()
    return [dataset.get_data_info(number) for number in range(len(dataset))]


def _border(photo: np.ndarray, boxes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The largest strip of a photo (H, W, 3) beside all its boxes (n, 4), or a fifth of it at one side."""
    height, width = photo.shape[:2]
    if not len(boxes):
        y, x = max(1, round(height * _BORDER)), max(1, round(width * _BORDER))
        return (photo[:y], photo[-y:], photo[:, :x], photo[:, -x:])[random.integers(4)]
    x0, y0 = np.clip(np.floor(boxes[:, :2].min(axis=0)).astype(int), 0, (width, height))
    x1, y1 = np.clip(np.ceil(boxes[:, 2:].max(axis=0)).astype(int), 0, (width, height))
    return max((photo[:y0], photo[y1:], photo[:, :x0], photo[:, x1:]), key=lambda strip: strip.size)


def _fill(strip: np.ndarray, scale: float, frame: np.ndarray) -> np.ndarray:
    """A strip enlarged by a factor and mirrored until it fills a frame of some height and width."""
    if strip.size == 0:  # a box that is the whole photo
        return np.zeros((*frame, 3), np.uint8)
    width, height = (max(2, round(side * scale)) for side in strip.shape[1::-1])
    large = cv2.resize(strip, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    missing = [(0, max(0, int(side - have))) for side, have in zip(frame, large.shape)]
    return np.pad(large, (*missing, (0, 0)), mode='symmetric')[: frame[0], : frame[1]]
