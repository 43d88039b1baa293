"""Config of the model in one of the authors' checkpoints, from their settings and tensors, and the settings back."""

from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from torch import Tensor

from ..errors import GLSimError
from .authors_settings import check_settings

_EPS = 1e-12  # the authors' default
_TOP_O = 8  # their command line's default
_CHANNELS_PER_HEAD = 64
# Mean and deviation in pixel values, red first (glsim/data_utils/build_transform.py).
_MEAN_STD = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
_CUSTOM_MEAN_STD = {
    'cub': dict(mean=[93.317862, 107.12555, 105.98320], std=[19.443900, 11.729297, 15.487429]),
    **dict.fromkeys(('cifar10', 'cifar100', 'svhn', 'tinyin')),
}
_HALF = dict(mean=[127.5] * 3, std=[127.5] * 3)
_HEADS = {'vit_t': 3, 'vit_s': 6, 'vit_b': 12, 'vit_l': 16, 'vit_h': 16}  # by the model's name
_EXPORTED_HEADS = ('AggregatorHead', 'LinearClsHead', 'VisionTransformerClsHead')


def official_model_config(settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict:
    """Config of a ``GLSimClassifier``, or of a plain ``ImageClassifier`` if the authors trained a plain ViT.

    Patch size, width, depth and classes are read off the tensors, which have the authors' names without the leading
    ``model.``; O, similarity, image size, heads and epsilon come from the settings, the attributes of their
    ``argparse.Namespace``. O is read there because the authors double it for Stanford Dogs.

    Raises:
        GLSimError: If a setting says what cannot be built, or the weights are not those that the settings promise.
    """
    has_crops = any(name.startswith('aggregator.') for name in tensors)
    check_settings(settings, tensors)
    norm_cfg = dict(type='LN', eps=float(settings.get('layer_norm_eps') or _EPS))
    backbone = _backbone(settings, tensors, norm_cfg)
    if 'head.weight' not in tensors:
        raise GLSimError('the checkpoint lacks head.weight, the classifier; get the complete file')
    num_classes, width = tensors['head.weight'].shape
    head: dict[str, Any] = dict(num_classes=num_classes, in_channels=width)
    if not has_crops:
        backbone.update(out_type='cls_token')
        return dict(type='ImageClassifier', backbone=backbone, head=dict(type='LinearClsHead', **head))
    head.update(num_layers=_count(tensors, 'aggregator.blocks.'), norm_cfg=norm_cfg)
    neck = _selector(settings)
    return dict(type='GLSimClassifier', backbone=backbone, neck=neck, head=dict(type='AggregatorHead', **head))


def official_config(settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict:
    """A whole config for predicting with one of the authors' checkpoints: model, normalisation and test pipeline.

    The data set is one of folders per class, to be changed for testing. The arguments are those of
    :func:`official_model_config`.
    """
    model = official_model_config(settings, tensors)
    preprocessor = dict(type='ClsDataPreprocessor', num_classes=model['head']['num_classes'], to_rgb=True)
    pipeline = [dict(type='LoadImage'), *_resizing(settings, model['backbone']['img_size']), dict(type='PackInputs')]
    views: dict[str, Any] = {}
    if settings.get('test_flip'):
        print_log('the authors test this model on mirrored images too: pass --tta to tools/test.py', 'current')
        views = dict(tta_model=dict(type='MirrorTTA'))
    return dict(
        default_scope='mmpretrain',
        custom_imports=dict(imports=['glsim_mm'], allow_failed_imports=False),
        model=model,
        data_preprocessor=dict(preprocessor, **_normalisation(settings)),
        test_dataloader=dict(
            batch_size=16,
            num_workers=2,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dict(type='FolderDataset', data_root='data/test', pipeline=pipeline),
        ),
        test_evaluator=[dict(type='Accuracy', topk=(1,))],
        test_cfg=dict(),
        **views,
    )


def _backbone(settings: Mapping[str, Any], tensors: Mapping[str, Tensor], norm_cfg: dict) -> dict:
    if 'positional_embedding.pos_embedding' not in tensors:
        raise GLSimError('the checkpoint lacks positional_embedding.pos_embedding; get the complete file')
    channels, *_, height, width = tensors['patch_embedding.weight'].shape
    num_patches = tensors['positional_embedding.pos_embedding'].shape[1] - 1
    side = int(settings.get('image_size') or round(num_patches**0.5) * height)
    if (side // height) * (side // width) != num_patches:
        raise GLSimError(
            f'the settings say image_size={side}, but positional_embedding.pos_embedding is for {num_patches} patches '
            f'of {height}x{width}; get the checkpoint again'
        )
    if side % height or side % width:  # the authors leave the rest of the image out, GLSimViT pads it
        raise GLSimError(
            f'the settings say image_size={side}, no whole number of patches of {height}x{width}, which is not built '
            'here; choose another checkpoint'
        )
    heads = _HEADS.get(str(settings.get('model_name'))[:5], max(1, channels // _CHANNELS_PER_HEAD))
    return dict(
        type='GLSimViT',
        arch=dict(
            embed_dims=channels,
            num_layers=_count(tensors, 'encoder.blocks.'),
            num_heads=int(settings.get('num_attention_heads') or heads),
            feedforward_channels=len(tensors['encoder.blocks.0.pwff.fc1.weight']),
        ),
        img_size=side,
        patch_size=height if height == width else (height, width),
        norm_cfg=norm_cfg,
        interpolate_mode='bilinear',
    )


def _resizing(settings: Mapping[str, Any], side: int) -> list[dict]:
    """Steps from a decoded photo to the network's input, as the authors test."""
    bicubic = dict(backend='pillow', interpolation='bicubic')
    crop = dict(type='CenterCrop', crop_size=side)
    if settings.get('deit_recipe'):
        return [dict(type='ResizeEdge', scale=int(256 / 224 * side), edge='short', **bicubic), crop]
    if settings.get('test_resize_directly'):
        return [dict(type='Resize', scale=(side, side), **bicubic)]
    resized = int(settings.get('test_resize_size') or settings.get('resize_size') or 1.34 * side)
    return [dict(type='Resize', scale=(resized, resized), **bicubic), crop]


def _normalisation(settings: Mapping[str, Any]) -> dict:
    if not settings.get('custom_mean_std'):
        return _MEAN_STD
    name = settings.get('dataset_name')
    values = _CUSTOM_MEAN_STD.get(str(name), _HALF)
    if values is None:
        raise GLSimError(f'the normalisation of {name} is not known here; write the config by hand')
    return values


def _selector(settings: Mapping[str, Any]) -> dict:
    if settings and settings.get('dynamic_top') is None:
        print_log(f'the checkpoint does not say how many patches it selects; O = {_TOP_O} is assumed', 'current')
    cropping = dict(top_o=int(settings.get('dynamic_top') or _TOP_O), box_end='exclusive')
    return dict(type='GLSimSelector', similarity=str(settings.get('sim_metric') or 'cos'), **cropping)


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """Number of blocks under a prefix."""
    indices = {name.removeprefix(prefix).partition('.')[0] for name in tensors if name.startswith(prefix)}
    missing = [i for i in range(len(indices)) if str(i) not in indices]
    if missing:
        raise GLSimError(f'the checkpoint lacks {prefix}{missing[0]}; get the complete file')
    return len(indices)


def official_settings(model: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The authors' command line for a model of this project, as far as it concerns the model.

    ``model`` comes from its config, the tensors have the authors' names; returns attributes of ``argparse.Namespace``.
    """
    backbone, neck, head = (model.get(part) or {} for part in ('backbone', 'neck', 'head'))
    _check_exportable(backbone, neck, head)
    arch = backbone['arch'] if isinstance(backbone.get('arch'), Mapping) else {}
    width = tensors['model.class_token'].shape[-1]
    settings = dict(
        project_name='GLSim',
        classifier='cls',
        image_size=_side(backbone.get('img_size', 224)),
        hidden_size=width,
        num_hidden_layers=_count(tensors, 'model.encoder.blocks.'),
        num_attention_heads=int(arch.get('num_heads') or max(1, width // _CHANNELS_PER_HEAD)),
        intermediate_size=len(tensors['model.encoder.blocks.0.pwff.fc1.weight']),
        representation_size=width,
        num_classes=len(tensors['model.head.weight']),
        layer_norm_eps=float((backbone.get('norm_cfg') or {}).get('eps', 1e-6)),
        anchor_class_token='model.anchor_class_token' in tensors,
    )
    if not any(name.startswith('model.aggregator.') for name in tensors):
        return dict(settings, dynamic_anchor=False, reducer=None, aggregator=False)
    return dict(
        settings,
        dynamic_anchor=True,
        dynamic_top=int(neck.get('top_o', _TOP_O)),
        sim_metric=neck.get('similarity', 'cos'),
        reducer='cls',
        aggregator=True,
        aggregator_norm=True,
        aggregator_num_hidden_layers=int(head.get('num_layers', 1)),
    )


def _check_exportable(backbone: Mapping[str, Any], neck: Mapping[str, Any], head: Mapping[str, Any]) -> None:
    vit, selector, classifier = (str(part.get('type')).rpartition('.')[2] for part in (backbone, neck, head))
    if vit != 'GLSimViT':
        raise GLSimError(f"{vit} cannot be exported to the authors' code, which has only GLSimViT's ViT")
    if neck and selector != 'GLSimSelector':
        raise GLSimError(f"{selector} cannot be exported to the authors' code; only GLSimSelector can")
    if neck.get('box_end', 'exclusive') != 'exclusive':
        raise GLSimError("box_end='inclusive' cannot be exported: the authors' code leaves out the last row and column")
    if neck.get('num_regions', 1) != 1 or not isinstance(neck.get('top_o', _TOP_O), int):
        raise GLSimError("several regions cannot be exported: the authors' code crops one, of one top_o")
    if classifier not in _EXPORTED_HEADS:
        raise GLSimError(f"{classifier} cannot be exported to the authors' code; only AggregatorHead can")


def _side(img_size: Any) -> int:
    sides = {img_size} if isinstance(img_size, int) else set(img_size)
    if len(sides) > 1:
        raise GLSimError(f"img_size={tuple(img_size)} cannot be exported: the authors' code takes only square images")
    return int(sides.pop())
