"""Pretrained weights of any layout, into ``GLSimViT`` and ``TimmViT``."""

import sys

import torch
from torch import Tensor, nn

from ..errors import GLSimError, one_line
from .files import Checkpoint
from .layouts import find_layout, read_vit
from .matching import LoadReport, fill
from .mmpretrain_vit import to_mmpretrain
from .position_embedding import resize_position_embedding
from .sources import parse_address, read_address
from .vit_weights import VitWeights, position_tokens


def load_glsim_vit(module: nn.Module, address: str, prefix: str | None = None) -> LoadReport:
    """Fill ``GLSimViT``, or mmpretrain's ``VisionTransformer``, with weights of any layout.

    The position embedding is resized to the module's grid, square or not, in the module's ``interpolate_mode``.

    Args:
        module: The backbone.
        address: As :func:`~glsim_mm.checkpoints.sources.read_address` takes it.
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
    return fill(module, tensors, [*left_out, *weights.left_out], address)


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
    return fill(module, encoder, [*head, *left_out], address)


def _read(address: str, prefix: str | None, checkpoint: Checkpoint | None = None) -> VitWeights:
    parsed = parse_address(address)
    expected = parsed.layout if parsed and parsed.layout != 'timm' else None
    checkpoint = checkpoint or _with_prefix(read_address(address), prefix)
    return read_vit(checkpoint.tensors, address, expected)


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
