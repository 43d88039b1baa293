"""The test pipeline of a config in the words of exported files, which are followed without mmpretrain."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import GLSimError
from ..exported.onnx_inferencer import FILTERS
from .photo_pipeline import type_name


def translate_steps(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The test pipeline of a config in terms that :class:`~glsim_mm.exported.ExportedPipeline` knows.

    Raises:
        GLSimError: If a step has no counterpart outside mmpretrain.
    """
    names = [type_name(step).rpartition('.')[2] for step in steps]
    return [_translate(name, step) for name, step in zip(names, steps) if name != 'PackInputs']


def find_image_size(steps: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Height and width in pixels of the network input that some steps of :func:`translate_steps` make.

    Raises:
        GLSimError: If it depends on the photo.
    """
    if not steps or steps[-1]['type'] == 'resize_edge':
        raise GLSimError(
            'the test pipeline makes inputs of many sizes, a graph takes one: end it with CenterCrop, or Resize with a '
            'height and a width'
        )
    height, width = steps[-1]['size']
    return int(height), int(width)


def _translate(name: str, step: Mapping[str, Any]) -> dict[str, Any]:
    if name == 'CenterCrop' and not step.get('auto_pad', False):
        width, height = _pair(step['crop_size'])  # as all of mmcv's sizes
        return dict(type='center_crop', size=[height, width])
    if name in ('Resize', 'ResizeEdge'):
        if step.get('backend', 'cv2') != 'pillow' or step.get('interpolation', 'bilinear') not in FILTERS:
            raise GLSimError(f"{name} of the test pipeline needs backend='pillow' to be exported")
        how = dict(filter=step.get('interpolation', 'bilinear'))
        if name == 'ResizeEdge':
            return dict(type='resize_edge', size=int(step['scale']), edge=step.get('edge', 'short'), **how)
        if not step.get('keep_ratio', False) and step.get('scale') is not None:
            width, height = _pair(step['scale'])
            return dict(type='resize', size=[height, width], **how)
    raise GLSimError(
        f'{name} of the test pipeline cannot be exported as it is set: use Resize or ResizeEdge, and CenterCrop'
    )


def _pair(value: Any) -> list[int]:
    """As mmcv reads sizes: one number means a square."""
    return [int(value)] * 2 if isinstance(value, (int, float)) else [int(value[0]), int(value[1])]
