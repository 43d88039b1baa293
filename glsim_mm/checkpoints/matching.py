"""Do weights fit a module? What was loaded, what is missing, what is left over."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from mmengine.logging import MMLogger
from torch import Tensor, nn

from ..errors import GLSimError

_NUM_NAMED = 3
# A model without a place for one of these would compute something else; other leftovers are classifiers and the like.
_READ_BY_ENCODERS = re.compile(
    r'(blocks|layers)\.(?!.*relative_position_index)|norm_pre|pre_norm|reg_token|dist_token|cls_token|pos_embed'
)


class LoadReport(NamedTuple):
    """Names of tensors, by what loading did with them.

    Attributes:
        loaded: Copied into the module.
        missing: In the module, not in the weights.
        misshapen: In both, with different shapes.
        unexpected: In the weights, not in the module.
        left_out: In the file, no part of an encoder.
    """

    loaded: list[str]
    missing: list[str]
    misshapen: list[str]
    unexpected: list[str]
    left_out: list[str]


def match(module: Mapping[str, Tensor], weights: Mapping[str, Tensor], left_out: list[str]) -> LoadReport:
    """Compare names and shapes.

    Args:
        module: The module's ``state_dict``.
        weights: Weights under the module's names.
        left_out: Names in the file that are no part of an encoder.

    Returns:
        Loaded are those of equal shape.
    """
    shared = [name for name in module if name in weights]
    loaded = [name for name in shared if module[name].shape == weights[name].shape]
    return LoadReport(
        loaded=loaded,
        missing=[name for name in module if name not in weights],
        misshapen=[name for name in shared if name not in set(loaded)],
        unexpected=[name for name in weights if name not in module],
        left_out=left_out,
    )


def fill(module: nn.Module, weights: Mapping[str, Tensor], left_out: list[str], source: str) -> LoadReport:
    """Copy weights into a module that they fit completely, and log what was done.

    Args:
        module: An encoder.
        weights: Weights under its names.
        left_out: Names in the file that are no part of an encoder, for the report.
        source: What messages call the file.

    Returns:
        What was done.

    Raises:
        GLSimError: If a tensor of the module is missing or has another shape, or the module has no place for one that
            encoders read, so that it would compute something else.
    """
    state = module.state_dict()
    report = match(state, weights, left_out)
    name = type(module).__name__
    homeless = [key for key in report.unexpected if _READ_BY_ENCODERS.match(key)]
    problems = (
        ('lacks', report.missing, 'give another checkpoint, or the config that it was made for'),
        ('has another shape for', report.misshapen, 'give another checkpoint, or the config that it was made for'),
        (f'has, unlike this {name},', homeless, 'set it in the config of the backbone'),
    )
    for verb, names, hint in problems:
        if names:
            raise GLSimError(
                f'{source} was made by another architecture: it {verb} {_some(names, state, weights)}, '
                f'{len(report.loaded)} of {len(state)} tensors of {name} match; {hint}'
            )
    module.load_state_dict({key: weights[key] for key in state}, strict=True)
    MMLogger.get_current_instance().info(format_report(report, source))
    return report


def format_report(report: LoadReport, source: str) -> str:
    """One line for a report.

    Args:
        report: What loading did.
        source: What to call the file.

    Returns:
        For example ``'vit.pth: 152 tensors loaded, 0 missing, 0 unexpected, left out: head.weight, head.bias'``.
    """
    parts = [f'{len(report.loaded)} tensors loaded']
    for what, names in (
        ('missing', [*report.missing, *report.misshapen]),
        ('unexpected', report.unexpected),
        ('left out', report.left_out),
    ):
        parts.append(f'{len(names)} {what}{f" ({_list(names)})" if names else ""}')
    return f'{source}: {", ".join(parts)}'


def _some(names: list[str], state: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    first = names[0]
    shapes = ''
    if first in state and first in weights:
        shapes = f' ({tuple(weights[first].shape)} instead of {tuple(state[first].shape)})'
    return f'{first}{shapes}' + (f' and {len(names) - 1} more' if len(names) > 1 else '')


def _list(names: list[str]) -> str:
    more = f' and {len(names) - _NUM_NAMED} more' if len(names) > _NUM_NAMED else ''
    return ', '.join(names[:_NUM_NAMED]) + more
