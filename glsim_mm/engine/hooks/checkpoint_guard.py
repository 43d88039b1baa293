"""Does a checkpoint belong to the model it is loaded into?"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from mmpretrain.registry import HOOKS
from torch import Tensor

from ...errors import GLSimError
from .num_classes import unwrap_model

_NUM_NAMED = 3  # names of tensors in a message
_MIN_BACKBONE_SHARE = 0.5
# Backbones resize these on loading, to fit another image size.
_RESIZED = re.compile(r'pos_embed|relative_position')


class Match(NamedTuple):
    """Names of a model's tensors, by what a checkpoint holds for them."""

    fitting: list[str]
    missing: list[str]
    misshapen: list[str]


@HOOKS.register_module()
class CheckpointGuardHook(Hook):
    """Stops a run if a checkpoint was made by another architecture, which mmengine only logs.

    For testing and resuming each tensor of the model must be in the checkpoint. Training from a checkpoint
    (``load_from``) wants half of the backbone's tensors, so that another head or image size is allowed.

    Raises:
        GLSimError: If the checkpoint does not belong to the model.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare names and shapes before weights are copied."""
        name = str(runner._load_from)
        found = match_tensors(unwrap_model(runner.model).state_dict(), weights_of(checkpoint))
        # There is no public sign of what a runner is doing; `train` builds its loop before it loads.
        training = isinstance(runner._train_loop, BaseLoop)
        if training and not runner._resume:
            check_fine_tuning(found, name)
            _log_left_out(runner, found, name)
            return
        check_complete(found, name)
        if training and not {'meta', 'message_hub', 'optimizer'} <= set(checkpoint):
            raise GLSimError(f'{name} holds weights only and cannot be resumed; start from it with load_from={name}')


def weights_of(checkpoint: Mapping) -> dict[str, Tensor]:
    """Tensors of a checkpoint by name, without the prefix of distributed training."""
    weights = checkpoint.get('state_dict', checkpoint)
    return {re.sub(r'^module\.', '', name): value for name, value in weights.items() if isinstance(value, Tensor)}


def match_tensors(model: Mapping[str, Tensor], checkpoint: Mapping[str, Tensor]) -> Match:
    """Sort the names of a model's tensors by what a checkpoint holds for them."""
    missing = [name for name in model if name not in checkpoint and not name.endswith('num_batches_tracked')]
    shared = [name for name in model if name in checkpoint]
    fitting = [name for name in shared if _fits(name, model[name].shape, checkpoint[name].shape)]
    return Match(fitting, missing, [name for name in shared if name not in set(fitting)])


def _fits(name: str, wanted: torch.Size, found: torch.Size) -> bool:
    """Whether a tensor of shape ``found`` can be loaded for one of shape ``wanted``."""
    can_resize = _RESIZED.search(name) is not None and len(wanted) == len(found) > 0
    return wanted == found or (can_resize and wanted[-1] == found[-1])


def check_complete(found: Match, name: str) -> None:
    """Raise :class:`GLSimError` unless a checkpoint holds the whole model."""
    if not found.missing and not found.misshapen:
        return
    raise GLSimError(
        f'{name} was made by another model: {_count_backbone(found)}; {_name_some(found)}; '
        'use the config that it was trained with'
    )


def check_fine_tuning(found: Match, name: str) -> None:
    """Raise :class:`GLSimError` unless a checkpoint holds half of the backbone."""
    backbone = [key for key in (*found.fitting, *found.missing, *found.misshapen) if key.startswith('backbone.')]
    num_fitting = sum(key.startswith('backbone.') for key in found.fitting)
    if backbone and num_fitting < _MIN_BACKBONE_SHARE * len(backbone):
        raise GLSimError(
            f'{name} was made by another architecture: {_count_backbone(found)}; {_name_some(found)}; '
            'give load_from a checkpoint of this backbone'
        )


def _log_left_out(runner: Runner, found: Match, name: str) -> None:
    if found.missing or found.misshapen:
        runner.logger.info(f'{name} lacks some tensors, which keep their initial values: {_name_some(found)}')


def _count_backbone(found: Match) -> str:
    fitting, *others = (sum(name.startswith('backbone.') for name in names) for names in found)
    return f'{fitting} of {fitting + sum(others)} backbone tensors match'


def _name_some(found: Match) -> str:
    parts = []
    for what, names in (('missing', found.missing), ('of another shape', found.misshapen)):
        if names:
            more = f' and {len(names) - _NUM_NAMED} more' if len(names) > _NUM_NAMED else ''
            parts.append(f'{what}: {", ".join(names[:_NUM_NAMED])}{more}')
    return ', '.join(parts)
