"""What a checkpoint says of itself beside its weights: settings of the model, and names of its classes."""

from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log

from ..ops import BOX_SHAPES, BoxPolicy

# Part, field, and its default in our modules.
_DECIDING = (
    ('backbone', 'final_norm', True),
    ('neck', 'type', 'GLSimSelector'),
    ('neck', 'similarity', 'cos'),
    ('neck', 'top_o', 8),
    ('neck', 'box_end', 'exclusive'),
    ('neck', 'out_type', 'crops'),
    ('neck', 'num_regions', 1),
    ('neck', 'union_with', None),
    *(('neck', name, getattr(BoxPolicy(), name)) for name in BOX_SHAPES),
    ('head', 'final_norm', True),
    ('head', 'all_tokens', False),
    ('head', 'pooling', 'first'),
)


def tell_differences(config: Mapping[str, Any], trained: Mapping[str, Any] | None, source: str) -> list[str]:
    """Name in the log what a config of a ``GLSimClassifier`` changes about the model that a checkpoint describes.

    ``trained`` is the model's config in a checkpoint that came from GLSim's authors, None if it has none. Testing with
    another O may be what is wanted, so that nothing is refused. Returns what differs.
    """
    if trained is None or _name(trained.get('type')) != _name(config.get('type')):
        return []
    differing = []
    for part, field, default in _DECIDING:
        wanted, found = ((model.get(part) or {}).get(field, default) for model in (config, trained))
        if _name(wanted) != _name(found):
            differing.append(f'model.{part}.{field}={wanted!r} (trained with {found!r})')
    if differing:
        print_log(
            f'the config differs from the settings of {source}: {", ".join(differing)}; glsim checkpoints convert '
            '--config-out writes the config of the checkpoint',
            'current',
            level=30,
        )
    return differing


def tell_nameless(metainfo: Mapping[str, Any], source: str, consequence: str) -> None:
    """Say in the log what follows from a checkpoint or split that names no classes; nothing if there are names."""
    if not metainfo.get('classes'):
        print_log(f'{source} does not name its classes: {consequence}', 'current', level=30)


def _name(value: Any) -> Any:
    """The name of a class without its scope, tuples and lists alike."""
    if isinstance(value, str):
        return value.rpartition('.')[2]
    return list(value) if isinstance(value, (list, tuple)) else value
