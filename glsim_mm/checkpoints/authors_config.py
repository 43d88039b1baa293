"""Config of the model in one of the authors' checkpoints, from their settings and tensors, and the settings back."""

from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from torch import Tensor

from ..errors import GLSimError
from ..ops import BOX_SHAPES, BoxPolicy
from .authors_settings import check_settings, joins_class_tokens, makes_crop

_EPS = 1e-12  # the authors' default
_TOP_O = 8  # their command line's default
_CHANNELS_PER_HEAD = 64
# Fields of a selector that their code lacks, with the values that change nothing.
_PAPERS_POLICY = {name: getattr(BoxPolicy(), name) for name in BOX_SHAPES} | {'union_with': None}
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
    check_settings(settings, tensors)
    norm_cfg = dict(type='LN', eps=float(settings.get('layer_norm_eps') or _EPS))
    backbone = _backbone(settings, tensors, norm_cfg)
    if 'head.weight' not in tensors:
        raise GLSimError('the checkpoint lacks head.weight, the classifier; get the complete file')
    rates = _rates(settings)
    backbone.update(rates, **(dict(drop_path_uniform=True) if 'drop_path_rate' in rates else {}))
    head = _head(settings, tensors, norm_cfg)
    if not head['num_layers'] and not {'pooling', 'representation_size'} & set(head):
        backbone.update(out_type='cls_token')  # the classifier reads the image's CLS token as the encoder leaves it
        plain = dict(type='LinearClsHead', num_classes=head['num_classes'], in_channels=head['in_channels'])
        return dict(type='ImageClassifier', backbone=backbone, head=plain)
    head = dict(type='AggregatorHead', **head, **rates)
    neck = selector_config(settings, 'crops' if makes_crop(settings) else 'none')
    return dict(type='GLSimClassifier', backbone=backbone, neck=neck, head=head)


def official_config(settings: Mapping[str, Any], model: dict) -> dict:
    """A whole config for predicting with one of the authors' checkpoints: model, normalisation and test pipeline.

    The data set is one of folders per class, to be changed for testing. ``model`` is the config of the model that the
    settings describe.
    """
    preprocessor = dict(type='ClsDataPreprocessor', num_classes=model['head']['num_classes'], to_rgb=True)
    pipeline = [dict(type='LoadImage'), *_resizing(settings, model['backbone']['img_size']), dict(type='PackInputs')]
    views: dict[str, Any] = {}
    if settings.get('test_flip'):
        print_log('the authors test this model on mirrored images too: pass --tta to glsim test', 'current')
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
    check_side(side, height, width)
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
        **({} if 'encoder_norm.weight' in tensors else dict(final_norm=False)),
    )


def _head(settings: Mapping[str, Any], tensors: Mapping[str, Tensor], norm_cfg: dict) -> dict[str, Any]:
    """Arguments of the ``AggregatorHead``, without those that are its defaults."""
    head: dict[str, Any] = dict(
        num_classes=len(tensors['head.weight']),
        in_channels=len(tensors['patch_embedding.weight']),
        num_layers=_count(tensors, 'aggregator.blocks.'),
        norm_cfg=norm_cfg,
    )
    if 'aggregator_norm.weight' not in tensors:
        head.update(final_norm=False)
    if 'reducer.weight' in tensors:
        head.update(representation_size=len(tensors['reducer.weight']))
    if not joins_class_tokens(settings):
        head.update(all_tokens=True)
    if settings.get('classifier') in ('avg_cls', 'max_cls'):
        head.update(pooling=settings['classifier'].removesuffix('_cls'))
    return head


def _rates(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Stochastic depth, or else the dropout in its place, of encoder and aggregator; none but for further training."""
    depth, dropout = (float(settings.get(name) or 0) for name in ('sd', 'hidden_dropout_prob'))
    rates: dict[str, Any] = dict(drop_path_rate=depth) if depth else dict(branch_drop_rate=dropout) if dropout else {}
    if settings.get('attention_probs_dropout_prob'):
        rates.update(layer_cfgs=dict(attn_drop_rate=float(settings['attention_probs_dropout_prob'])))
    return rates


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


def check_side(side: int, height: int, width: int) -> None:
    """Refuse an image that is no whole number of patches: the authors leave the rest of it out, and we pad it."""
    if side % height or side % width:
        raise GLSimError(
            f'the settings say image_size={side}, no whole number of patches of {height}x{width}, which is not built '
            'here; choose another checkpoint'
        )


def selector_config(settings: Mapping[str, Any], out_type: str) -> dict[str, Any]:
    """The ``GLSimSelector`` of the settings, which both variants read alike."""
    if settings and settings.get('dynamic_top') is None:
        print_log(f'the checkpoint does not say how many patches it selects; O = {_TOP_O} is assumed', 'current')
    return dict(
        type='GLSimSelector',
        similarity=str(settings.get('sim_metric') or 'cos'),
        top_o=int(settings.get('dynamic_top') or _TOP_O),
        box_end='exclusive',
        **({} if out_type == 'crops' else dict(out_type=out_type)),
    )


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
    test = model.get('test_cfg') or {}
    _check_exportable(backbone, neck, head, test)
    arch = backbone['arch'] if isinstance(backbone.get('arch'), Mapping) else {}
    width = tensors['model.class_token'].shape[-1]
    pooling = head.get('pooling', 'first')
    has_aggregator = any(name.startswith('model.aggregator.') for name in tensors)
    settings = dict(
        project_name='GLSim',
        classifier='cls' if pooling == 'first' else f'{pooling}_cls',
        image_size=_side(backbone.get('img_size', 224)),
        hidden_size=width,
        num_hidden_layers=_count(tensors, 'model.encoder.blocks.'),
        num_attention_heads=int(arch.get('num_heads') or max(1, width // _CHANNELS_PER_HEAD)),
        intermediate_size=len(tensors['model.encoder.blocks.0.pwff.fc1.weight']),
        representation_size=tensors['model.head.weight'].shape[-1],
        num_classes=len(tensors['model.head.weight']),
        layer_norm_eps=float((backbone.get('norm_cfg') or {}).get('eps', 1e-6)),
        encoder_norm='model.encoder_norm.weight' in tensors,
        anchor_class_token='model.anchor_class_token' in tensors,
        aggregator=has_aggregator,
        aggregator_norm='model.aggregator_norm.weight' in tensors,
    )
    if not neck and not has_aggregator:
        return dict(settings, dynamic_anchor=False, reducer=None)
    return dict(
        settings,
        dynamic_anchor=neck.get('out_type', 'crops') == 'crops' and test.get('crop', 'always') == 'always',
        dynamic_top=int(neck.get('top_o', _TOP_O)),
        sim_metric=neck.get('similarity', 'cos'),
        reducer=None if head.get('all_tokens') else 'cls',
        aggregator_num_hidden_layers=_count(tensors, 'model.aggregator.blocks.'),
    )


def _check_exportable(
    backbone: Mapping[str, Any], neck: Mapping[str, Any], head: Mapping[str, Any], test: Mapping[str, Any]
) -> None:
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
    width = head.get('representation_size') or head.get('in_channels')
    eps = (backbone.get('norm_cfg') or {}).get('eps', 1e-6)
    unlike = {
        'neck.crop_size': neck.get('crop_size') in (None, backbone.get('img_size', 224)),
        'neck.out_type': neck.get('out_type', 'crops') in ('crops', 'none'),
        **{f'neck.{field}': neck.get(field, default) == default for field, default in _PAPERS_POLICY.items()},
        'test_cfg.crop': test.get('crop', 'always') in ('always', 'off'),
        'backbone.layer_cfgs': set(backbone.get('layer_cfgs') or {}) <= {'attn_drop_rate'},
        'backbone.merged_tokens': not backbone.get('merged_tokens'),
        'backbone.window_size': not backbone.get('window_size'),
        'backbone.patch_cfg': not backbone.get('patch_cfg'),
        'head.layer_cfgs': set(head.get('layer_cfgs') or {}) <= {'attn_drop_rate'},
        'head.layer_type': head.get('layer_type', 'transformer') == 'transformer',
        'head.num_heads': head.get('num_heads') in (None, max(1, (width or 0) // _CHANNELS_PER_HEAD)),
        'head.mlp_ratio': head.get('mlp_ratio', 4.0) == 4,
        'head.final_norm': isinstance(head.get('final_norm', True), bool),
        'head.norm_cfg': classifier != 'AggregatorHead' or (head.get('norm_cfg') or {}).get('eps', _EPS) == eps,
    }
    for name, fits in unlike.items():
        if not fits:
            raise GLSimError(f"model.{name} of this model cannot be exported: the authors' code has no such setting")


def _side(img_size: Any) -> int:
    sides = {img_size} if isinstance(img_size, int) else set(img_size)
    if len(sides) > 1:
        raise GLSimError(f"img_size={tuple(img_size)} cannot be exported: the authors' code takes only square images")
    return int(sides.pop())
