"""Fields of a config that a user sets: what would change nothing, or is of another kind, is refused."""

import difflib
import inspect
import re
from collections.abc import Iterator, Mapping
from numbers import Number
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from ..errors import GLSimError, one_line

# Fields that mmengine and this package read besides the arguments of Runner.
_EXTRA_FIELDS = [
    *('compile', 'custom_imports', 'find_unused_parameters', 'model_wrapper_cfg', 'sync_bn', 'work_dir'),
    *('activation_checkpointing', 'efficient_conv_bn_eval', 'runner_type', 'tta_model', 'tta_pipeline'),
]
# Groups of which mmengine reads these fields alone; others would change nothing, or end a run that has begun.
_GROUPS = {
    'env_cfg': ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'),
    'auto_scale_lr': ('enable', 'base_batch_size'),
    'randomness': ('seed', 'diff_rank_seed', 'deterministic'),
    'optim_wrapper.clip_grad': ('type', 'max_norm', 'norm_type', 'error_if_nonfinite', 'foreach', 'clip_value'),
}
_WHOLE_NUMBERS = (
    *('batch_size', 'num_workers', 'prefetch_factor', 'max_epochs', 'max_iters', 'val_interval', 'val_begin'),
    *('interval', 'max_keep_ckpts', 'num_classes', 'in_channels', 'embed_dims', 'num_layers', 'num_heads'),
    *('patch_size', 'frozen_stages', 'seed', 'accumulative_counts', 'base_batch_size'),
)
_POSITIVE = ('batch_size', 'val_interval', 'num_layers', 'embed_dims', 'patch_size', 'accumulative_counts')
_NUMBER_OR_TEXT = ('loss_scale', 'dtype')
_NUM_NAMED = 3
_MISSING = object()  # a field that is not there


def override(cfg: Config, overrides: Mapping) -> Config:
    """Set fields of a config in place, by their dotted names, and return it.

    Dicts are merged into those that are there, unless they have ``_delete_=True``.

    Raises:
        GLSimError: If a field is unknown, belongs to a value that has none, is a variable that nothing reads any more,
            or gets a value of another kind than it has.
    """
    known = [*cfg, *inspect.signature(Runner).parameters, *_EXTRA_FIELDS]
    for name in overrides:
        field = name.split('.')[0]
        if field not in known:
            close = difflib.get_close_matches(field, known, n=1)
            hint = f'did you mean {close[0]}?' if close else 'see the config for its fields'
            raise GLSimError(f'--cfg-options {name}: there is no config field {field}; {hint}')
    merged = {}
    for name, value in overrides.items():
        _refuse_unread(name, value)
        _refuse_variable(cfg, name)
        old = _find_old(cfg, name)
        _refuse_other_kind(name, value, old)
        merged[name] = _in_place_of(old, value)
    try:
        cfg.merge_from_dict(merged)
    except (TypeError, KeyError, AttributeError) as error:
        raise GLSimError(f'--cfg-options do not fit the config: {one_line(error, 200)}') from error
    return cfg


def _refuse_variable(cfg: Config, name: str) -> None:
    """A variable that a config file made other fields from: they have copies of it, and nothing reads it."""
    field, _, rest = name.partition('.')
    if _is_read(cfg, field) or not _is_variable(cfg.text, field):
        return
    places = [place for one in cfg if _is_read(cfg, one) for place in _find(cfg[one], cfg[field], one)]
    end = f'.{rest}' if rest else ''
    instead = ', '.join(f'{place}{end}' for place in places[:_NUM_NAMED]) or 'the fields that were made from it'
    raise GLSimError(
        f'--cfg-options {name} would change nothing: {field} is a variable of the config file, of which other fields '
        f'got copies when it was read; set {instead}'
    )


def _refuse_unread(name: str, value: Any) -> None:
    for group, fields in _GROUPS.items():
        parts = list(value) if name == group and isinstance(value, Mapping) else []
        if name.startswith(f'{group}.'):
            parts = [name.removeprefix(f'{group}.').partition('.')[0]]
        unknown = [part for part in parts if part not in (*fields, '_delete_')]
        if unknown:
            raise GLSimError(f'--cfg-options {name}: {group} has no field {unknown[0]}; it has {", ".join(fields)}')


def _is_read(cfg: Config, field: str) -> bool:
    if field == 'test_pipeline':  # for predictions, where a config has no test data
        return not cfg.get('test_dataloader')
    return field in inspect.signature(Runner).parameters or field in _EXTRA_FIELDS


def _is_variable(text: str, field: str) -> bool:
    """Whether the text of a config reads the name anywhere; else it is a field for somebody's own code."""
    code = '\n'.join(line.partition('#')[0] for line in (text or '').splitlines())
    return re.search(rf'(?<![\w.\'"]){field}\b(?!\s*=(?!=))|_base_\.{field}\b', code) is not None


def _find(node: Any, value: Any, place: str) -> Iterator[str]:
    """Dotted names of a value below a field; numbers are too common to say where they came from."""
    if isinstance(value, Number):
        return
    if node == value:
        yield place
    elif isinstance(node, Mapping):
        for name, item in node.items():
            yield from _find(item, value, f'{place}.{name}')
    elif isinstance(node, list | tuple):
        for number, item in enumerate(node):
            yield from _find(item, value, f'{place}.{number}')


def _find_old(cfg: Config, name: str) -> Any:
    """The value of a dotted name before it is set, or :data:`_MISSING`."""
    node: Any = cfg
    parts = name.split('.')
    for place, part in enumerate(parts):
        if node is None or node is _MISSING:
            return _MISSING
        node = _field(node, part, name, '.'.join(parts[:place]))
    return node


def _in_place_of(old: Any, new: Any) -> Any:
    """A new value such that mmengine sets dicts, which it merges with dicts and refuses in place of anything else."""
    if not isinstance(new, Mapping) or old is _MISSING or isinstance(old, list | tuple):
        return new
    if not isinstance(old, Mapping):
        return dict(new, _delete_=True)
    return {key: _in_place_of(old.get(key, _MISSING), value) for key, value in new.items()}


def _refuse_other_kind(name: str, value: Any, old: Any) -> None:
    wanted = _wanted(name.rpartition('.')[2], None if old is _MISSING else old, value)
    if wanted is not None:
        has = '' if old is None or old is _MISSING else f', the config has {_shown(old)}'
        raise GLSimError(f'--cfg-options {name}={_shown(value)} is of the wrong kind: give {wanted}{has}')


def _field(node: Any, part: str, name: str, place: str) -> Any:
    """A field of a part of a config."""
    if isinstance(node, list | tuple):
        if not part.isdigit():
            raise GLSimError(f'--cfg-options {name} does not fit the config: {place} is a list; set {place}.0.{part}')
        if int(part) >= len(node):
            raise GLSimError(
                f'--cfg-options {name} does not fit the config: {place} has {len(node)} items, counted from 0'
            )
        return node[int(part)]
    if not isinstance(node, Mapping | Config):
        raise GLSimError(f'--cfg-options {name} does not fit the config: {place} is {_shown(node)}, without fields')
    return node.get(part, _MISSING)


def _wanted(field: str, old: Any, new: Any) -> str | None:
    """What a field takes, if that is something else than the new value."""
    numbers = _all_numbers(old)
    if new is None or isinstance(new, Mapping) and not numbers or field in _NUMBER_OR_TEXT:
        return None
    if isinstance(old, Mapping):
        return 'a dict or None'
    if field in _WHOLE_NUMBERS and isinstance(new, float | str | bool):
        return 'a whole number'
    if field in _POSITIVE and isinstance(new, int) and new < 1:
        return 'a whole number from 1'
    if isinstance(old, bool):
        return None if isinstance(new, bool) else 'true or false'
    if numbers:
        return None if _all_numbers(new) else 'a number' if isinstance(old, Number) else 'numbers'
    if isinstance(old, str) and isinstance(new, Number) and not isinstance(new, bool):
        return f'text (a folder may be called ./{new})'
    if isinstance(old, list | tuple) and any(isinstance(item, Mapping) for item in old):
        return None if isinstance(new, list | tuple) else 'a list of dicts or None'
    return None


def _all_numbers(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(map(_all_numbers, value))
    return isinstance(value, Number) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    text = one_line(dict(value) if isinstance(value, Mapping) else value)
    return text if len(text) <= 60 else f'{text[:57]}...'
