"""The test pipeline of an exported model, with NumPy and Pillow: the same pixels as mmpretrain's transforms make."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..errors import GLSimError

FILTERS = {
    'nearest': Image.Resampling.NEAREST,
    'bilinear': Image.Resampling.BILINEAR,
    'bicubic': Image.Resampling.BICUBIC,
    'lanczos': Image.Resampling.LANCZOS,
    'box': Image.Resampling.BOX,
    'hamming': Image.Resampling.HAMMING,
}


class ExportedPipeline:
    """Prepares photos as the model was tested.

    Args:
        steps: In order: ``dict(type='resize', size=(h, w), filter='bicubic')``, ``dict(type='resize_edge', size=s,
            edge='short', filter='bicubic')`` or ``dict(type='center_crop', size=(h, w))``, sizes in pixels.

    Raises:
        GLSimError: If a step is unknown.
    """

    def __init__(self, steps: Sequence[Mapping[str, Any]]) -> None:
        unknown = [step['type'] for step in steps if step['type'] not in ('resize', 'resize_edge', 'center_crop')]
        if unknown:
            raise GLSimError(f'this version of glsim_mm does not know the step {unknown[0]!r}: export the model again')
        self.steps = [dict(step) for step in steps]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Network input of a photo.

        Args:
            pixels: (H, W, 3) uint8.

        Returns:
            (3, h, w) uint8, channels in the order given.
        """
        for step in self.steps:
            if step['type'] == 'center_crop':
                top, left, height, width = _center(pixels.shape[:2], step['size'])
                pixels = pixels[top : top + height, left : left + width]
            else:
                height, width = _resized(pixels.shape[:2], step)
                image = Image.fromarray(np.ascontiguousarray(pixels))
                pixels = np.asarray(image.resize((width, height), FILTERS[step['filter']]))
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def to_photo(self, shape: tuple[int, int]) -> np.ndarray:
        """The map from pixels of the network input to pixels of a photo.

        Args:
            shape: Height and width of the photo.

        Returns:
            (2, 3) float64 ``A`` with ``A @ (x, y, 1)`` the place in the photo.
        """
        scale, offset = np.ones(2), np.zeros(2)  # x and y; place in the photo = scale * place + offset
        for step in self.steps:
            if step['type'] == 'center_crop':
                top, left, height, width = _center(shape, step['size'])
                offset += scale * (left, top)
                shape = (min(height, shape[0]), min(width, shape[1]))
            else:
                height, width = _resized(shape, step)
                scale *= (shape[1] / width, shape[0] / height)
                shape = (height, width)
        return np.concatenate([np.diag(scale), offset[:, None]], axis=1)


def _center(shape: Sequence[int], size: Sequence[int]) -> tuple[int, int, int, int]:
    """Top, left, height and width, as mmcv's CenterCrop rounds them."""
    top, left = (max(0, int(round((have - want) / 2.0))) for have, want in zip(shape, size))
    return top, left, int(size[0]), int(size[1])


def _resized(shape: Sequence[int], step: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width after a step, as mmcv's Resize and mmpretrain's ResizeEdge round them."""
    if step['type'] == 'resize':
        return int(step['size'][0]), int(step['size'][1])
    height, width, size = int(shape[0]), int(shape[1]), int(step['size'])
    along_width = {'short': width < height, 'long': width > height, 'width': True, 'height': False}[step['edge']]
    return (int(size * height / width), size) if along_width else (size, int(size * width / height))
