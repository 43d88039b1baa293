"""The test pipeline of a config: from a decoded photo to the network input, and from there back to the photo."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import cv2
import numpy as np
from mmcv import rescale_size
from mmcv.transforms import BaseTransform, CenterCrop, Resize
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmpretrain.datasets.transforms import ResizeEdge
from mmpretrain.registry import TRANSFORMS
from torch import Tensor

from ..errors import GLSimError
from ..images.decoding import WHITE, check_background
from .pipeline_scale import scaled_steps

_LOADERS = ('LoadImage', 'LoadImageFromFile')
_MAX_SHAPES = 65_536
# What transforms raise on an image of float32, for example those that go through Pillow.
_TRANSFORM_ERRORS = (TypeError, ValueError, AssertionError, KeyError, cv2.error)
_RANDOM = ('Random', 'Auto', 'TestTimeAug', 'ColorJitter', 'Lighting')
_TOLERANCE = 0.05  # pixels of the photo

Step = Mapping[str, Any]


class TestPipeline:
    """Prepares decoded photos as the model of a config is tested.

    ::

        pipeline = TestPipeline(cfg)
        inputs = pipeline(photo)  # (3, h, w) of a photo (H, W, 3) uint8 BGR
        box_in_photo = map_box(pipeline.to_photo(photo.shape[:2]), box, photo.shape[:2])

    Raises:
        GLSimError: If the config has no test pipeline.
    """

    __test__ = False  # pytest would collect it by its name

    def __init__(self, cfg: Config) -> None:
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmpretrain'):
            self._compose = Compose([TRANSFORMS.build(step) for step in find_test_steps(cfg)])
        self.background = find_background(cfg)
        self._moving = [step for step in self._compose.transforms if not type(step).__name__.endswith('PackInputs')]
        self._matrices: dict[tuple[int, int], np.ndarray | None] = {}

    def __call__(self, pixels: np.ndarray) -> Tensor:
        """Network input of a photo, (3, h, w), not normalised yet, of its pixels (H, W, 3) uint8 BGR."""
        shape = pixels.shape[:2]
        return self._compose(dict(img=pixels, img_shape=shape, ori_shape=shape))['inputs']

    def to_photo(self, shape: tuple[int, int]) -> np.ndarray | None:
        """The map of :func:`photo_from_input` for photos of (height, width) ``shape``, which is remembered."""
        if shape not in self._matrices:
            if len(self._matrices) >= _MAX_SHAPES:
                self._matrices.clear()
            self._matrices[shape] = photo_from_input(self._moving, shape)
        return self._matrices[shape]


def find_test_steps(cfg: Config) -> list[dict]:
    """Configs of the transforms of a config's ``test_dataloader``, ``val_dataloader`` or ``test_pipeline``.

    Photos come decoded, so steps that load files are left out. They deliver what ``model.second_look.scale`` asks for.

    Raises:
        GLSimError: If there are no transforms.
    """
    return [dict(step) for step in scaled_steps(cfg, _test_steps(cfg)) if not type_name(step).endswith(_LOADERS)]


def find_background(cfg: Config) -> tuple[int, int, int]:
    """The background of the ``LoadImage`` of a config's test pipeline: red, green and blue, 0 to 255."""
    loaders = (step for step in _test_steps(cfg) if type_name(step).endswith(_LOADERS))
    return check_background(next(loaders, {}).get('background', WHITE))


def _test_steps(cfg: Config) -> Sequence[Step]:
    datasets = [(cfg.get(name) or {}).get('dataset') for name in ('test_dataloader', 'val_dataloader')]
    steps = next(filter(None, map(_find_pipeline, datasets)), None) or cfg.get('test_pipeline')
    if steps:
        return steps
    raise GLSimError('the config has no test pipeline: give it a test_dataloader, or the field test_pipeline')


def type_name(step: Step) -> str:
    """Name of a transform, given as name or class."""
    return step['type'] if isinstance(step['type'], str) else step['type'].__name__


def photo_from_input(steps: Sequence[BaseTransform | Callable], shape: tuple[int, int]) -> np.ndarray | None:
    """The map from pixels of the network input to pixels of the photo.

    Resizing and cropping at the centre, with which test pipelines begin, are followed by their sizes alone. If other
    steps come behind them, every pixel of the image there carries its own place down the pipeline, so any transform
    that moves pixels linearly (padding, mirroring, turning) is followed, whether or not it would move annotated boxes.

    Args:
        steps: The test pipeline without loading and packing.
        shape: Height and width of the photo in pixels.

    Returns:
        (2, 3) float64 ``A`` with ``A @ (x, y, 1)`` the place in the photo of the place ``x, y`` in the input, both
        counted from the upper left corner of the upper left pixel; None if the pipeline draws at random, changes more
        than places, or does not keep enough pixels to tell.
    """
    if any(type(step).__name__.startswith(_RANDOM) for step in steps):
        return None
    scale, offset = np.ones(2), np.zeros(2)  # of x and y: the place in the photo is scale * place + offset
    rest = list(steps)
    while rest and (window := _window(rest[0], shape)) is not None:
        origin, extent, shape_after = window
        offset = offset + scale * origin
        scale = scale * extent / shape_after[::-1]
        shape = shape_after
        rest.pop(0)
    to_photo = np.concatenate([np.diag(scale), offset[:, None]], axis=1)
    if not rest:
        return to_photo
    inner = _send_coordinates(rest, shape)
    return None if inner is None else to_photo @ np.concatenate([inner, [[0, 0, 1]]])


def _window(
    step: BaseTransform | Callable, shape: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]] | None:
    """The part of an image (x and y of its corner, width and height) that a step shows, and the shape it gives it.

    None for steps that are not known to show a rectangle of the image.
    """
    height, width = shape
    if type(step) is CenterCrop:
        if step.auto_pad:
            return None
        kept = min(step.crop_size[0], width), min(step.crop_size[1], height)
        corner = int(round((width - kept[0]) / 2.0)), int(round((height - kept[1]) / 2.0))
        return corner, kept, (kept[1], kept[0])
    if type(step) is ResizeEdge:
        along_width = dict(short=width < height, long=width > height, width=True, height=False)[step.edge]
        size = step.scale
        resized = (int(size * height / width), size) if along_width else (size, int(size * width / height))
    elif type(step) is Resize and step.scale:
        fitted = rescale_size((width, height), step.scale) if step.keep_ratio else step.scale
        resized = int(fitted[1]), int(fitted[0])
    else:
        return None
    return ((0, 0), (width, height), resized) if min(resized) > 0 else None


def _send_coordinates(steps: Sequence[BaseTransform | Callable], shape: tuple[int, int]) -> np.ndarray | None:
    """The map of :func:`photo_from_input`, found by sending an image of coordinates down the pipeline."""
    height, width = shape
    image = np.empty((height, width, 3), np.float32)
    image[..., 0] = np.arange(width) + 0.5
    image[..., 1] = np.arange(height)[:, None] + 0.5
    image[..., 2] = 1
    results = dict(img=image, img_shape=shape, ori_shape=shape)
    try:
        for step in map(_on_floats, steps):
            results = step(results)
            if results is None:
                return None
    except _TRANSFORM_ERRORS:
        return None
    return _fit(np.asarray(results['img'], np.float64))


def _find_pipeline(dataset: Any) -> Sequence[Step] | None:
    """Pipeline of a data set's config, also of one inside others."""
    if not isinstance(dataset, Mapping):
        return None
    if dataset.get('pipeline'):
        return dataset['pipeline']
    inner = dataset.get('datasets') or [dataset.get('dataset')]
    return next((steps for steps in map(_find_pipeline, inner) if steps), None)


def _on_floats(step: BaseTransform | Callable) -> BaseTransform | Callable:
    """A copy of a transform that moves pixels alike, but of float32 too, which OpenCV knows and Pillow does not."""
    if getattr(step, 'backend', 'cv2') == 'cv2' and not hasattr(step, 'interpolation'):
        return step
    step = deepcopy(step)
    step.backend = 'cv2'
    if isinstance(getattr(step, 'interpolation', None), str):
        step.interpolation = 'bilinear'
    return step


def _fit(image: np.ndarray) -> np.ndarray | None:
    """Linear map from places to the coordinates (h, w, 3) that pixels carry; None if there is none."""
    if image.ndim != 3 or image.shape[2] != 3:
        return None
    is_photo = np.abs(image[..., 2] - 1) < 1e-3  # not padding
    rows, columns = np.flatnonzero(is_photo.any(axis=1)), np.flatnonzero(is_photo.any(axis=0))
    if len(rows) < 2 or len(columns) < 2:
        return None
    # Where images are enlarged, the outermost pixels repeat the border.
    i, j = np.meshgrid(_middle(rows), _middle(columns), indexing='ij')
    places = np.stack([j.ravel() + 0.5, i.ravel() + 0.5, np.ones(i.size)], axis=-1)
    targets = image[i.ravel(), j.ravel()]
    solution, _, rank, _ = np.linalg.lstsq(places, targets, rcond=None)
    matrix = solution.T[:2]
    is_linear = np.abs(places @ solution - targets).max() < _TOLERANCE and np.abs(targets[:, 2] - 1).max() < 1e-3
    is_invertible = rank == 3 and abs(np.linalg.det(matrix[:, :2])) > 1e-9
    return matrix if is_linear and is_invertible else None


def _middle(indices: np.ndarray) -> np.ndarray:
    """At most 16 of the middle half of some sorted indices, at least two."""
    quarter = (len(indices) - 1) // 4
    middle = indices[quarter : len(indices) - quarter]
    return middle[np.linspace(0, len(middle) - 1, min(16, len(middle))).round().astype(int)]
