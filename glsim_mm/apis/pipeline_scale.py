"""Pipelines that deliver photos at a multiple of the network's size, for ``second_look`` of a GLSimClassifier."""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from mmengine.config import Config

from ..errors import GLSimError
from ..models.classifiers.second_look import as_fraction, read_second_look

# Fields of transforms that are pixels, by the names of their classes, and of them those that give the size.
_PIXELS = {
    'LoadImage': ('min_side',),
    'Resize': ('scale',),
    'ResizeEdge': ('scale',),
    'RandomResizedCrop': ('scale',),
    'EfficientNetRandomCrop': ('scale',),
    'EfficientNetCenterCrop': ('crop_size',),
    'CenterCrop': ('crop_size',),
    'RandomCrop': ('crop_size', 'padding'),
    'RandomCropWithBoxes': ('crop_size',),
    'Pad': ('size',),
}
_SIZES = ('scale', 'crop_size', 'size')

Step = Mapping[str, Any]


def scale_pipelines(cfg: Config) -> Config:
    """Make all pipelines of a config deliver what ``model.second_look.scale`` asks for, in place, and return it.

    The sizes of a config's pipelines are those of the network input, ``model.backbone.img_size``; pipelines that
    deliver the multiple already stay as they are, so that a config that a run has written can be used again.

    Raises:
        GLSimError: If a pipeline delivers neither, or nothing says what the network's size is.
    """
    scale = find_scale(cfg)
    if scale != 1:
        size = _network_size(cfg)
        for owner, name in list(_find_pipelines(cfg._cfg_dict)):
            owner[name] = scale_steps(owner[name], scale, size)
    return cfg


def scaled_steps(cfg: Config, steps: Sequence[Step]) -> list[Step]:
    """The steps of one pipeline of a config, as :func:`scale_pipelines` leaves them; the config stays as it is."""
    scale = find_scale(cfg)
    return list(steps) if scale == 1 else scale_steps(steps, scale, _network_size(cfg))


def find_scale(cfg: Config) -> Fraction:
    """How many times the network's size the model of a config wants; 1 for any other model."""
    settings = _find_settings(cfg.get('model'))
    return as_fraction(read_second_look(settings.get('second_look')).scale) if settings else Fraction(1)


def scale_steps(steps: Sequence[Step], scale: Fraction, size: tuple[int, int]) -> list[Step]:
    """Steps that deliver ``scale`` times the network's size (height, width), of those that deliver that size.

    Raises:
        GLSimError: If they deliver another size.
    """
    wanted = tuple(int(side * scale) for side in size)
    found = _delivered(steps)
    if found is None or found == sorted(wanted):
        return list(steps)
    if found != sorted(size):
        raise GLSimError(
            f'a pipeline delivers {_text(found)} px, but model.second_look.scale={float(scale):g} wants '
            f'{_text(wanted)} of the {_text(size)} px for which model.backbone.img_size is set: end it with '
            f'{_text(size)}, which is scaled, or with {_text(wanted)}.'
        )
    return [_scale(step, scale) for step in steps]


def _scale(step: Any, scale: Fraction) -> Any:
    """A step, or steps inside others, with its pixels multiplied."""
    if isinstance(step, (list, tuple)):
        return type(step)(_scale(one, scale) for one in step)
    if not isinstance(step, dict):
        return step
    changed = {name: _times(step[name], scale) for name in _PIXELS.get(_name(step), ()) if step.get(name)}
    if 'transforms' in step:
        changed['transforms'] = _scale(step['transforms'], scale)
    return type(step)({**step, **changed})


def _times(value: Any, scale: Fraction) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_times(one, scale) for one in value)
    return int(value * scale) if isinstance(value, (int, float)) and value > 0 else value


def _delivered(steps: Any) -> list[int] | None:
    """Sides, the shorter one first, that the last step of a pipeline with a size leaves; None if there is none."""
    for step in reversed(steps):
        inside = step if isinstance(step, (list, tuple)) else step.get('transforms')
        found = _delivered(inside) if inside else None
        if found is not None:
            return found
        if isinstance(step, Mapping):
            for name in _PIXELS.get(_name(step), ()):
                if name in _SIZES and step.get(name):
                    return sorted(_pair(step[name]))
    return None


def _find_pipelines(value: Any) -> Iterator[tuple[Any, str]]:
    """Where the pipelines of a config stand: the mapping that holds each, and its name there."""
    if isinstance(value, Mapping):
        for name, inside in value.items():
            is_steps = isinstance(inside, (list, tuple)) and bool(inside) and isinstance(inside[0], Mapping)
            if (name == 'pipeline' or name.endswith('_pipeline')) and is_steps:
                yield value, name
            else:
                yield from _find_pipelines(inside)
    elif isinstance(value, (list, tuple)):
        for inside in value:
            yield from _find_pipelines(inside)


def _find_settings(model: Any) -> Mapping[str, Any] | None:
    """The settings of a classifier that looks twice, also inside a retriever or test-time augmentation."""
    if not isinstance(model, Mapping):
        return None
    if 'second_look' in model:
        return model
    inside = (model.get(name) for name in ('image_encoder', 'module'))
    return next((found for found in map(_find_settings, inside) if found is not None), None)


def _network_size(cfg: Config) -> tuple[int, int]:
    backbone = (_find_settings(cfg.model) or {}).get('backbone') or {}
    size = backbone.get('img_size', (backbone.get('module') or {}).get('img_size'))  # of LoRAModel
    if size is None:
        raise GLSimError(
            'model.second_look.scale multiplies the size of the network input: set model.backbone.img_size to it.'
        )
    return _pair(size)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))


def _name(step: Step) -> str:
    kind = step.get('type', '')
    return kind.rpartition('.')[2] if isinstance(kind, str) else kind.__name__


def _text(size: Sequence[int]) -> str:
    return 'x'.join(map(str, dict.fromkeys(size)))
