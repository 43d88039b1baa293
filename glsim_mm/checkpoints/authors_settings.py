"""The settings of the authors' command line, as their checkpoints keep them: what is read, refused, or without effect.

This is the one table of them; docs/guides/checkpoints.md lists it. Source: ``glsim/other_utils/build_args.py`` and
``glsim/model_utils`` of github.com/arkel23/GLSim. Their ViT (``vit_*``) and their variant of timm's models
(``glsvit_*``) read different ones.
"""

from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from torch import Tensor

from ..errors import GLSimError, name_some

# Settings of the pipeline of test images, which both variants read.
_PIPELINE: dict[str, tuple | None] = {
    'image_size': None,
    'resize_size': None,
    'test_resize_size': None,
    'test_resize_directly': None,
    'deit_recipe': None,
    'custom_mean_std': None,
    'dataset_name': None,
}
# Settings that say which function the model computes, with the values that can be built; None for any. A value of None
# stands for the authors' default, so it is never refused here.
VIT_SETTINGS: dict[str, tuple | None] = {
    **_PIPELINE,
    'model_name': None,
    'classifier': ('cls', 'avg_cls', 'max_cls'),
    'dynamic_anchor': None,
    'anchor_size': None,
    'num_anchors': None,
    'dynamic_top': None,
    'sim_metric': ('cos', 'l1', 'l2'),
    'anchor_random': (False,),  # theirs draws from the first O patches of the image, and on a GPU only
    'reducer': ('cls', True, False),
    'num_attention_heads': None,
    'layer_norm_eps': None,
    'pos_embedding_type': ('learned',),
    'test_flip': None,
    'sd': None,
    'hidden_dropout_prob': None,
    'attention_probs_dropout_prob': None,
}
# The same for their variant of timm's models. All other settings of their ViT have no effect there.
TIMM_SETTINGS: dict[str, tuple | None] = {
    **_PIPELINE,
    'model_name': None,
    'dynamic_anchor': (True,),
    'dynamic_top': None,
    'sim_metric': ('cos', 'l1', 'l2'),
    'select_top_k': None,
    'aggregator_type': ('transformer', 'dwsc', 'conv'),
    'classifier': ('cls', 'avg_cls', 'max_cls', 'pool'),  # theirs fails with cls_pool as soon as it crops
    'inference_crops': (True,),  # theirs fails without
    'adapter': (False,),
    'token_drop': None,
    'sd': None,
}
# What the names and shapes of the tensors tell better.
FROM_WEIGHTS = (
    'hidden_size', 'intermediate_size', 'num_hidden_layers', 'encoder_norm', 'aggregator', 'aggregator_norm',
    'aggregator_num_hidden_layers', 'representation_size', 'num_classes', 'anchor_class_token',
)  # fmt: skip
# Parts that a setting promises, the authors' default, and a name that the weights then have.
_PROMISED = {
    'encoder_norm': (True, 'encoder_norm.weight'),
    'aggregator': (False, 'aggregator.blocks.0.norm1.weight'),
    'aggregator_norm': (False, 'aggregator_norm.weight'),
}
# What no forward pass of their ViT reads, whatever its name suggests.
DEAD = (
    'hidden_act', 'head_norm', 'head_act', 'head_dropout_all', 'head_dropout_prob', 'anchor_pool_avg',
    'anchor_pool_stride', 'anchor_conv_stem', 'anchor_conv_stride', 'anchor_resize_size', 'shared_patchifier',
    'exclude_bottom_k', 'patchifier_dropout', 'backbone_ours', 'cal_single_crop', 'aggregator_type', 'select_top_k',
    'inference_crops', 'token_drop', 'adapter', 'seq_len_post_reducer',
)  # fmt: skip
# What acts in training only, or on files, logs and pictures.
TRAINING = (
    'freeze_backbone', 'classifier_aux', 'loss_aux_weight',
    'supcon', 'norm_ind',
    'project_name', 'entity', 'debugging', 'serial', 'seed', 'epochs', 'log_freq', 'save_freq', 'results_dir',
    'run_name', 'save_images', 'train_trainval', 'test_only', 'test_only_bs1', 'test_offline', 'test_multiple',
    'vis_errors', 'vis_errors_save', 'eval_freq', 'pretrained', 'ckpt_path', 'transfer_learning', 'dist_eval', 'cfg',
    'cfg_method', 'cfg_is',
    'batch_size', 'cpu_workers', 'pin_memory', 'shuffle_test', 'dataset_root_path', 'folder_train', 'folder_val',
    'folder_test', 'df_train', 'df_trainval', 'df_val', 'df_test', 'df_classid_classname', 'num_images_train',
    'num_images_val', 'num_images_test',
    'opt', 'base_lr', 'lr', 'opt_eps', 'opt_betas', 'clip_grad', 'momentum', 'weight_decay', 'fp16',
    'gradient_accumulation_steps', 'effective_batch_size', 'sched', 't_in_epochs', 'lr_noise', 'lr_noise_pct',
    'lr_noise_std', 'warmup_lr', 'min_lr', 'decay_epochs', 'warmup_steps', 'warmup_epochs', 'cooldown_epochs',
    'patience_epochs', 'decay_rate',
    'random_resized_crop', 'square_resize_random_crop', 'short_side_resize_random_crop', 'square_center_crop', 'affine',
    'horizontal_flip', 'vertical_flip', 'aa', 'randaug', 'trivial_aug', 'jitter_prob', 'jitter_bcs', 'jitter_hue',
    'blur', 'greyscale', 'solarize_prob', 'solarize', 'cm', 'beta', 'mu', 'alpha', 'mix_prob', 're', 're_sh', 're_r1',
    'ra', 'ls', 'smoothing', 'focal_gamma', 'focal_alpha', 'jitter', 'train_interpolation', 'repeated_aug', 'reprob',
    'remode', 'recount', 'resplit',
    'device', 'distributed', 'world_size', 'rank', 'local_rank', 'images_path', 'results_inference',
    'save_crops_only', 'cal_save_all', 'vis_cols', 'vis_dataset_all', 'vis_mask_color', 'vis_th_topk', 'vis_mask_pow',
    'vis_mask', 'vis_mask_all', 'vis_mask_list', 'vis_mask_sq',
)  # fmt: skip


def check_settings(settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Refuse, by its name, a setting of the authors' ViT that says what cannot be built.

    The tensors have the authors' names without the leading ``model.``. Settings that the authors' public code does not
    know either are named in the log.
    """
    _check_values(settings, VIT_SETTINGS)
    if not settings:
        print_log(
            "the checkpoint holds no settings, and weights do not tell all of the model: the paper's are assumed, a "
            'crop around O = 8 patches by cosine similarity and an aggregator over the two CLS tokens',
            'current',
            level=30,
        )
        return
    for name, (default, tensor) in _PROMISED.items():
        promised = default if settings.get(name) is None else settings[name]
        if promised and tensor not in tensors:
            raise GLSimError(
                f'the settings say {name}={promised}, but the weights lack {tensor}; get the complete file'
            )
        if not promised and tensor in tensors and name in settings:
            raise GLSimError(f'the settings say {name}=False, but the weights have {tensor}; get the checkpoint again')
    _check_views(settings, tensors)
    _tell_unknown(settings)


def check_timm_settings(settings: Mapping[str, Any]) -> None:
    """Refuse, by its name, a setting of the authors' variant of timm's models that says what cannot be built."""
    _check_values(settings, TIMM_SETTINGS)
    for name in ('model_name', 'image_size', 'dynamic_anchor'):
        if not settings.get(name):
            raise GLSimError(
                f'the settings do not say {name}, which the weights do not tell; get the complete checkpoint'
            )
    if settings.get('aggregator_type') in ('dwsc', 'conv') and not settings.get('select_top_k'):
        raise GLSimError(
            f'the settings say aggregator_type={settings["aggregator_type"]!r} without select_top_k, which the '
            "authors' code cannot run either; choose another checkpoint"
        )
    _tell_unknown(settings)


def check_plain_timm_settings(settings: Mapping[str, Any]) -> None:
    """Refuse their variant without a crop, timm's plain ViT, if its classifier reads more than the CLS token."""
    is_theirs = str(settings.get('model_name') or '').startswith('glsvit')
    if is_theirs and settings.get('classifier') in ('pool', 'cls_pool'):
        raise GLSimError(
            f'the settings say classifier={settings["classifier"]!r}, which is not built here without a crop; choose '
            'another checkpoint, or take its encoder alone, with init_cfg of a backbone'
        )


def _check_values(settings: Mapping[str, Any], known: Mapping[str, tuple | None]) -> None:
    for name, values in known.items():
        value = settings.get(name)
        if values is not None and value is not None and value not in values:
            choice = ' or '.join(map(repr, values))
            raise GLSimError(
                f'the settings say {name}={value!r}, which is not built here (only {choice}); choose another checkpoint'
            )


def _tell_unknown(settings: Mapping[str, Any]) -> None:
    known = {*VIT_SETTINGS, *TIMM_SETTINGS, *FROM_WEIGHTS, *DEAD, *TRAINING}
    unknown = [name for name, value in settings.items() if value not in (None, False) and name not in known]
    if unknown:
        print_log(
            f"settings that the authors' public code does not know, and that are not read: {name_some(unknown, 8)}",
            'current',
            level=30,
        )


def makes_crop(settings: Mapping[str, Any]) -> bool:
    """Whether a crop is encoded: with a dynamic anchor, but also without it as soon as there is an anchor's size."""
    return not settings or bool(settings.get('dynamic_anchor') or settings.get('anchor_size'))


def joins_class_tokens(settings: Mapping[str, Any]) -> bool:
    """Whether the aggregator gets the CLS tokens alone; any other reducer leaves all tokens, as their code is."""
    return not settings or settings.get('reducer') == 'cls'


def _check_views(settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Refuse settings that do not say what the aggregator's input is: it leaves no trace in the weights."""
    if not any(name.startswith('aggregator.') for name in tensors):
        return
    if 'reducer' not in settings:
        raise GLSimError('the settings do not say reducer, which the weights do not tell; get the complete checkpoint')
    if not {'dynamic_anchor', 'anchor_size'} & set(settings):
        raise GLSimError(
            'the settings say neither dynamic_anchor nor anchor_size, without which it is not known whether there is a '
            'crop; get the complete checkpoint'
        )
    if (
        makes_crop(settings)
        and not settings.get('dynamic_anchor')
        and settings.get('num_anchors') not in (None, 1, [1])
    ):
        raise GLSimError(
            f'the settings say num_anchors={settings["num_anchors"]}, but one crop is made; choose another checkpoint'
        )
