"""Pretrained weights of any layout, into ``GLSimViT`` and ``TimmViT``: what was loaded, is missing, or is left over."""

import re
import sys
from collections.abc import Mapping
from typing import NamedTuple

import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn

from ..errors import GLSimError, name_some, one_line
from .addresses import expected_layout, read_address
from .image_towers import read_tower_head
from .vit_layouts import find_layout, read_vit
from .vit_names import to_mmpretrain
from .vit_weights import naming, position_tokens, resize_position_embedding

_NUM_NAMED = 3
# A model without a place for one of these would compute something else; other leftovers are classifiers and the like.
_READ_BY_ENCODERS = re.compile(
    r'(blocks|layers)\.(?!.*relative_position_index)|norm_pre|pre_norm|reg_token|dist_token|cls_token|pos_embed'
)


class LoadReport(NamedTuple):
    """Names of tensors, by what loading did with them; every tensor of the module was filled.

    >>> load_glsim_vit(backbone, 'vit-npz://augreg.npz').left_out
    ['pre_logits/bias', 'pre_logits/kernel']

    Attributes:
        loaded: Copied into the module.
        unexpected: In the weights, not in the module.
        left_out: In the file, no part of an encoder.
    """

    loaded: list[str]
    unexpected: list[str]
    left_out: list[str]


def load_glsim_vit(module: nn.Module, address: str, prefix: str | None = None) -> LoadReport:
    """Fill ``GLSimViT``, or mmpretrain's ``VisionTransformer``, with weights of any layout, and log what was done.

    The position embedding is resized to the module's grid, square or not, in the module's ``interpolate_mode``.

    Args:
        module: The backbone.
        address: As :func:`~glsim_mm.checkpoints.addresses.read_address` takes it.
        prefix: Read only tensors under this prefix, as ``init_cfg`` has it; ignored if there are none.

    Raises:
        GLSimError: If the weights cannot be read or do not fill the backbone.
    """
    weights = read_vit(_read(address, prefix), address, expected_layout(address))
    with naming(address):
        tensors, left_out = to_mmpretrain(weights.tensors)
        num_leading, grid = position_tokens(tensors['pos_embed'].shape[1])
        if grid is not None:  # one that is not square must be the module's own
            mode = 'bilinear' if module.interpolate_mode == 'bilinear' else 'bicubic'
            new_grid = tuple(module.patch_resolution)
            tensors['pos_embed'] = resize_position_embedding(tensors['pos_embed'], grid, new_grid, num_leading, mode)
    if getattr(module, 'crop_cls_token', None) is not None:
        tensors.setdefault('crop_cls_token', tensors['cls_token'].clone())
    return _fill(module, tensors, [*left_out, *weights.left_out], address)


def load_timm_vit(
    module: nn.Module, address: str, prefix: str | None = None, crop_cls_token: Tensor | None = None
) -> LoadReport:
    """Fill a model of timm without classifier, as :func:`load_glsim_vit`; timm resizes position and patch embedding.

    A CLS token for crops is filled too, from the image's if the weights have none.

    Names that are no layout known here are left to timm, which converts those of some more projects.
    """
    tensors, left_out = _read(address, prefix), []
    behind = _tower_head(module, tensors)
    found = find_layout(tensors)
    if found is not None and (found[0].kind != 'timm' or found[1]):
        tensors, layout, left_out = read_vit(tensors, address, expected_layout(address))
        if layout in ('dinov3', 'hf-dinov3'):
            tensors = {**_zero_biases(module), **tensors}
    tensors = {**tensors, **behind}
    left_out = [name for name in left_out if name not in behind]
    head = [name for name in ('head.weight', 'head.bias') if name in tensors and name not in module.state_dict()]
    own = ['crop_cls_token'] if crop_cls_token is not None and 'crop_cls_token' in tensors else []
    encoder = {name: tensor for name, tensor in tensors.items() if name not in (*head, *own)}
    convert = getattr(sys.modules[type(module).__module__], 'checkpoint_filter_fn', None)
    try:
        encoder = encoder if convert is None else convert(encoder, module)
    except (RuntimeError, AttributeError, AssertionError) as error:
        raise GLSimError(
            f'{address} was made by another architecture: {one_line(error, 200)}; give another one'
        ) from error
    report = _fill(module, encoder, [*head, *left_out], address)
    if crop_cls_token is not None:
        crop_cls_token.data.copy_(tensors['crop_cls_token'] if own else module.state_dict()['cls_token'])
    return report


def _read(address: str, prefix: str | None) -> dict[str, Tensor]:
    """Tensors at an address; only those under the prefix, if there are any."""
    tensors = read_address(address).tensors
    start = f'{prefix.rstrip(".")}.' if prefix else ''
    return {name: tensor for name, tensor in tensors.items() if name.startswith(start)} or tensors


def _tower_head(module: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a model of timm computes behind its tokens, if it does."""
    own = module.state_dict()
    return {name: tensor for name, tensor in read_tower_head(tensors).items() if name in own}


def _zero_biases(module: nn.Module) -> dict[str, Tensor]:
    """What the published DINOv3 models have as bias of queries and values, for timm's models with such a bias."""
    state = module.state_dict()
    return {name: torch.zeros_like(state[name]) for name in state if name.endswith(('.attn.q_bias', '.attn.v_bias'))}


def _fill(module: nn.Module, weights: Mapping[str, Tensor], left_out: list[str], source: str) -> LoadReport:
    """Copy weights into an encoder that they fit completely, and log what was done.

    A tensor for which the encoder has no place is refused if it would make the encoder compute something else.
    """
    state, name = module.state_dict(), type(module).__name__
    shared = [key for key in state if key in weights]
    report = LoadReport(
        loaded=[key for key in shared if state[key].shape == weights[key].shape],
        unexpected=[key for key in weights if key not in state],
        left_out=left_out,
    )
    missing = [key for key in state if key not in weights]
    misshapen = [
        f'{key} ({tuple(weights[key].shape)} instead of {tuple(state[key].shape)})'
        for key in shared
        if state[key].shape != weights[key].shape
    ]
    homeless = [key for key in report.unexpected if _READ_BY_ENCODERS.match(key)]
    problems = (
        ('lacks', missing, 'give another checkpoint, or the config that it was made for'),
        ('has another shape for', misshapen, 'give another checkpoint, or the config that it was made for'),
        (f'has, unlike this {name},', homeless, 'set it in the config of the backbone'),
    )
    for verb, names, hint in problems:
        if names:
            raise GLSimError(
                f'{source} was made by another architecture: it {verb} {name_some(names)}, '
                f'{len(report.loaded)} of {len(state)} tensors of {name} match; {hint}'
            )
    module.load_state_dict({key: weights[key] for key in state}, strict=True)
    leftovers = [
        f'{len(names)} {what}' + (f' ({name_some(names, _NUM_NAMED)})' if names else '')
        for what, names in (('unexpected', report.unexpected), ('left out', left_out))
    ]
    MMLogger.get_current_instance().info(f'{source}: all {len(state)} tensors loaded, {", ".join(leftovers)}')
    return report
