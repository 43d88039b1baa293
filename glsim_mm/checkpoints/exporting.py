"""This project's models under the names of the authors' GLSim code and of timm."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..errors import GLSimError
from .official_glsim import to_official

_PLAIN_LINEAR_HEADS = ('LinearClsHead', 'VisionTransformerClsHead')


def export_to_glsim(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Tensors of a model as the authors' checkpoints name them, ``model.`` and all.

    Args:
        checkpoint: ``state_dict`` and, where known, ``unread``, as :func:`~glsim_mm.checkpoints.schemes.load_whole`
            gives them.

    Returns:
        The authors' names; a checkpoint of theirs comes back bit by bit.

    Raises:
        GLSimError: If the authors' model has no place for a tensor.
    """
    tensors = {**to_official(checkpoint['state_dict']), **(checkpoint.get('unread') or {})}
    return {f'model.{name}': tensor for name, tensor in tensors.items()}


def official_settings(model: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The authors' command line for a model of this project, as far as it concerns the model.

    Args:
        model: ``model`` of a config.
        tensors: The model under the authors' names.

    Returns:
        Attributes of their ``argparse.Namespace``.

    Raises:
        GLSimError: If the authors' code has no such model.
    """
    backbone, head = model.get('backbone') or {}, model.get('head') or {}
    _check(model, backbone)
    arch = backbone['arch'] if isinstance(backbone.get('arch'), Mapping) else {}
    width = int(tensors['model.class_token'].shape[-1])
    settings = dict(
        project_name='GLSim',
        classifier='cls',
        image_size=_side(backbone.get('img_size', 224)),
        hidden_size=width,
        num_hidden_layers=1 + max(int(name.split('.')[3]) for name in tensors if name.startswith('model.encoder.b')),
        num_attention_heads=int(arch.get('num_heads') or max(1, width // 64)),
        intermediate_size=int(tensors['model.encoder.blocks.0.pwff.fc1.weight'].shape[0]),
        representation_size=width,
        num_classes=int(tensors['model.head.weight'].shape[0]),
        layer_norm_eps=float((backbone.get('norm_cfg') or {}).get('eps', 1e-6)),
        anchor_class_token='model.anchor_class_token' in tensors,
    )
    if not any(name.startswith('model.aggregator.') for name in tensors):
        return dict(settings, dynamic_anchor=False, reducer=None, aggregator=False)
    neck = model.get('neck') or {}
    return dict(
        settings,
        dynamic_anchor=True,
        dynamic_top=int(neck.get('top_o', 8)),
        sim_metric=neck.get('similarity', 'cos'),
        reducer='cls',
        aggregator=True,
        aggregator_norm=True,
        aggregator_num_hidden_layers=int(head.get('num_layers', 1)),
    )


def _check(model: Mapping[str, Any], backbone: Mapping[str, Any]) -> None:
    neck, head = model.get('neck') or {}, model.get('head') or {}
    if str(backbone.get('type')).rpartition('.')[2] != 'GLSimViT':
        raise GLSimError(
            f"{backbone.get('type')} cannot be exported to the authors' code, which has only GLSimViT's ViT"
        )
    if neck and str(neck.get('type')).rpartition('.')[2] != 'GLSimSelector':
        raise GLSimError(f"{neck.get('type')} cannot be exported to the authors' code; only GLSimSelector can")
    if neck.get('box_end', 'exclusive') != 'exclusive':
        raise GLSimError("box_end='inclusive' cannot be exported: the authors' code leaves out the last row and column")
    if neck.get('num_regions', 1) != 1 or not isinstance(neck.get('top_o', 8), int):
        raise GLSimError("several regions cannot be exported: the authors' code crops one, of one top_o")
    kind = str(head.get('type')).rpartition('.')[2]
    if kind not in ('AggregatorHead', *_PLAIN_LINEAR_HEADS):
        raise GLSimError(f"{head.get('type')} cannot be exported to the authors' code; only AggregatorHead can")


def _side(img_size: Any) -> int:
    sides = {img_size} if isinstance(img_size, int) else set(img_size)
    if len(sides) > 1:
        raise GLSimError(f"img_size={tuple(img_size)} cannot be exported: the authors' code takes only square images")
    return int(sides.pop())
