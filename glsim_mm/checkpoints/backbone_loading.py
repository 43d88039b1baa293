"""Pretrained weights of any layout, into ``GLSimViT`` and ``TimmViT``: what was loaded, is missing, or is left over."""

import re
import sys
from collections.abc import Mapping
from typing import NamedTuple

import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn

from ..errors import GLSimError, one_line
from .addresses import expected_layout, read_address
from .checkpoint_files import Checkpoint
from .vit_layouts import find_layout, read_vit
from .vit_names import to_mmpretrain
from .vit_weights import VitWeights, position_tokens, resize_position_embedding

_NUM_NAMED = 3
# A model without a place for one of these would compute something else; other leftovers are classifiers and the like.
_READ_BY_ENCODERS = re.compile(
    r'(blocks|layers)\.(?!.*relative_position_index)|norm_pre|pre_norm|reg_token|dist_token|cls_token|pos_embed'
)


class LoadReport(NamedTuple):
    """Names of tensors, by what loading did with them.

    >>> load_glsim_vit(backbone, 'vit-npz://augreg.npz').left_out
    ['pre_logits/bias', 'pre_logits/kernel']

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


def load_glsim_vit(module: nn.Module, address: str, prefix: str | None = None) -> LoadReport:
    """Fill ``GLSimViT``, or mmpretrain's ``VisionTransformer``, with weights of any layout.

    The position embedding is resized to the module's grid, square or not, in the module's ``interpolate_mode``.

    Args:
        module: The backbone.
        address: As :func:`~glsim_mm.checkpoints.addresses.read_address` takes it.
        prefix: Read only tensors under this prefix, as ``init_cfg`` has it; ignored if there are none.

    Returns:
        What was loaded; it is logged too.

    Raises:
        GLSimError: If the weights cannot be read or do not fill the backbone.
    """
    weights = _read(address, prefix)
    try:
        tensors, left_out = to_mmpretrain(weights.tensors)
        tensors['pos_embed'] = _fit_positions(module, tensors)
    except GLSimError as error:
        raise GLSimError(f'{address}: {error}') from error
    if getattr(module, 'crop_cls_token', None) is not None:
        tensors.setdefault('crop_cls_token', tensors['cls_token'].clone())
    return _fill(module, tensors, [*left_out, *weights.left_out], address)


def load_timm_vit(module: nn.Module, address: str, prefix: str | None = None) -> LoadReport:
    """Fill a model of timm with weights of any layout; timm resizes position and patch embedding.

    Names that are no layout known here are left to timm, which converts those of some more projects.

    Args:
        module: A model of timm without classifier.
        address: As :func:`load_glsim_vit`.
        prefix: As :func:`load_glsim_vit`.

    Returns:
        What was loaded; it is logged too.

    Raises:
        GLSimError: If the weights cannot be read or do not fill the model.
    """
    checkpoint = _with_prefix(read_address(address), prefix)
    found = find_layout(checkpoint.tensors)
    if found is None or (found[0].kind == 'timm' and not found[1]):
        tensors, left_out = checkpoint.tensors, []
    else:
        weights = _read(address, prefix, checkpoint)
        tensors, left_out = weights.tensors, weights.left_out
        if found[0].kind in ('dinov3', 'hf-dinov3'):
            tensors = _with_zero_bias(tensors, module.state_dict())
    head = [name for name in ('head.weight', 'head.bias') if name in tensors]
    encoder = {name: tensor for name, tensor in tensors.items() if name not in head}
    try:
        encoder = sys.modules[type(module).__module__].checkpoint_filter_fn(encoder, module)
    except (RuntimeError, AttributeError, AssertionError) as error:
        raise GLSimError(
            f'{address} was made by another architecture: {one_line(error, 200)}; give another one'
        ) from error
    return _fill(module, encoder, [*head, *left_out], address)


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


def _read(address: str, prefix: str | None, checkpoint: Checkpoint | None = None) -> VitWeights:
    checkpoint = checkpoint or _with_prefix(read_address(address), prefix)
    return read_vit(checkpoint.tensors, address, expected_layout(address))


def _with_prefix(checkpoint: Checkpoint, prefix: str | None) -> Checkpoint:
    """Only what stands under a prefix, if anything does."""
    start = f'{prefix.rstrip(".")}.' if prefix else ''
    inside = {name: tensor for name, tensor in checkpoint.tensors.items() if name.startswith(start)}
    return checkpoint._replace(tensors=inside) if inside else checkpoint


def _fit_positions(module: nn.Module, tensors: dict[str, Tensor]) -> Tensor:
    """The position embedding on the module's grid."""
    positions = tensors['pos_embed']
    grid = tuple(module.patch_resolution)
    num_leading, old_grid = position_tokens(positions.shape[1], True, 0)
    if old_grid is None:  # not square: then it must be the module's own
        return positions
    mode = 'bilinear' if module.interpolate_mode == 'bilinear' else 'bicubic'
    return resize_position_embedding(positions, old_grid, grid, num_leading, mode)


def _with_zero_bias(tensors: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give timm's DINOv3 models with a bias of queries and values the zeros that the published models have."""
    zeros = {
        name: torch.zeros_like(tensor)
        for name, tensor in state.items()
        if name.endswith(('.attn.q_bias', '.attn.v_bias')) and name not in tensors
    }
    return {**tensors, **zeros}


def _fill(module: nn.Module, weights: Mapping[str, Tensor], left_out: list[str], source: str) -> LoadReport:
    """Copy weights into an encoder that they fit completely, and log what was done.

    A tensor for which the encoder has no place is refused if it would make the encoder compute something else.
    """
    state = module.state_dict()
    shared = [key for key in state if key in weights]
    report = LoadReport(
        loaded=[key for key in shared if state[key].shape == weights[key].shape],
        missing=[key for key in state if key not in weights],
        misshapen=[key for key in shared if state[key].shape != weights[key].shape],
        unexpected=[key for key in weights if key not in state],
        left_out=left_out,
    )
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


def _some(names: list[str], state: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    first = names[0]
    shapes = ''
    if first in state and first in weights:
        shapes = f' ({tuple(weights[first].shape)} instead of {tuple(state[first].shape)})'
    return f'{first}{shapes}' + (f' and {len(names) - 1} more' if len(names) > 1 else '')


def _list(names: list[str]) -> str:
    more = f' and {len(names) - _NUM_NAMED} more' if len(names) > _NUM_NAMED else ''
    return ', '.join(names[:_NUM_NAMED]) + more
