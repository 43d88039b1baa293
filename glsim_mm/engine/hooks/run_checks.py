"""Hooks that check, before a run spends time, that data, metrics and checkpoint fit the model."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.evaluator import BaseMetric, DumpResults
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from mmpretrain.evaluation import (
    Accuracy,
    ConfusionMatrix,
    RetrievalAveragePrecision,
    RetrievalRecall,
    SingleLabelMetric,
)
from mmpretrain.registry import HOOKS
from torch import Tensor

from ...checkpoints.addresses import weights_for
from ...checkpoints.agreement import tell_differences, tell_nameless
from ...datasets.class_mapping import check_folders, label_names, leaf_datasets, map_classes, place_of
from ...datasets.data_faults import check_two_classes, left_out_of, summarise_faults
from ...errors import GLSimError, name_some
from ...models.classifiers import check_parts
from .run_report import written_config
from .wrappers import unwrap_model

_OF_CLASSES = (Accuracy, SingleLabelMetric, ConfusionMatrix)
_NUM_NAMED = 3  # names of tensors in a message
_MIN_BACKBONE_SHARE = 0.5
# Backbones resize these on loading, to fit another image size.
_RESIZED = re.compile(r'pos_embed|relative_position')


@HOOKS.register_module()
class NumClassesCheckHook(Hook):
    """Stops a run before its first iteration if classes or metrics do not fit the head, and maps labels by name.

    The training split names the classes, or the checkpoint that is tested or resumed. The labels of all other splits
    are numbered as they are there; see :func:`map_classes`. Loops that only measure image search keep their own
    classes::

        custom_hooks = [dict(type='NumClassesCheckHook')]

    What else is likely wrong with the data of a training goes to the log in one line, see
    :func:`~glsim_mm.datasets.data_faults.summarise_faults`.

    Args:
        allow_missing_classes: Accept splits that lack some of the classes.

    Raises:
        GLSimError: If the number of class names, a name, a label, the k of top-k accuracy or a part of the model does
            not fit, or all training photos are of one class.
    """

    priority = 'VERY_HIGH'

    def __init__(self, allow_missing_classes: bool = False) -> None:
        self.allow_missing_classes = allow_missing_classes
        self._metainfo: Mapping[str, Any] = {}  # that names the classes
        self._source = ''
        self._is_told = False
        self._checked: set[int] = set()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take the names of the classes from a checkpoint, unless it is only where a training starts."""
        if not is_training(runner) or runner._resume:
            self._metainfo = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
            self._source = f'the checkpoint {runner._load_from}' if runner._load_from else 'the resumed checkpoint'

    def before_run(self, runner: Runner) -> None:
        """Check that the parts of the model fit, for programs that :func:`build_runner` does not serve."""
        check_parts(unwrap_model(runner.model), needs_head=True)

    def before_train(self, runner: Runner) -> None:
        """Check the training data, and the validation data before an epoch is spent."""
        dataset = runner.train_dataloader.dataset
        first = next(leaf_datasets(dataset))
        num_classes = _num_classes(runner)
        if num_classes:
            label_names(first, 'train')  # tells about hidden folders, which would change the number
            check_two_classes(dataset)
            check_class_names(first if getattr(dataset, 'metainfo', None) is None else dataset, num_classes, 'train')
        if not runner._resume:
            self._metainfo = getattr(dataset, 'metainfo', None) or getattr(first, 'metainfo', None) or {}
            self._source = place_of(first, 'train')
        self._check_data(runner, dataset, 'train')
        if runner.val_loop is not None:
            if judges_classes(runner.val_loop.evaluator.metrics):
                check_folders(dataset, runner.val_loop.dataloader.dataset, 'val')
            self._check_loop(runner, runner.val_loop, 'val')
        if num_classes and runner.rank == 0:
            _tell_faults(runner, dataset, num_classes)

    def before_val(self, runner: Runner) -> None:
        self._check_loop(runner, runner.val_loop, 'val')

    def before_test(self, runner: Runner) -> None:
        left_out = left_out_of(runner.test_loop.dataloader.dataset)
        if left_out and runner.rank == 0:
            runner.logger.warning(f'data: left out of test: {left_out.summary()}')
        self._check_loop(runner, runner.test_loop, 'test')

    def _check_loop(self, runner: Runner, loop: Any, split: str) -> None:
        metrics = getattr(getattr(loop, 'evaluator', None), 'metrics', ())
        if judges_classes(metrics) and self._check_data(runner, loop.dataloader.dataset, split):
            # mmengine took a copy of the names when it built the loop.
            loop.evaluator.dataset_meta = runner.visualizer.dataset_meta = loop.dataloader.dataset.metainfo
        check_predictions(getattr(unwrap_model(runner.model), 'head', None), metrics, f'{split}_evaluator')
        num_classes = _num_classes(runner)
        if num_classes:
            check_top_k(metrics, num_classes, f'{split}_evaluator')

    def _check_data(self, runner: Runner, dataset: Any, split: str) -> bool:
        """Check a data set once; return whether its labels were renumbered."""
        num_classes = _num_classes(runner)
        if not num_classes or id(dataset) in self._checked:
            return False
        renumbered: list[str] = []
        if len(self._metainfo.get('classes') or ()) == num_classes:
            renumbered = map_classes(dataset, self._metainfo, split, self._source, self.allow_missing_classes)
            for place in renumbered:
                runner.logger.info(f'{place}: labels are numbered by name as in {self._source}')
        elif not self._is_told and self._source:
            consequence = 'those of the data are compared by their number only; check that their order is the same'
            tell_nameless(self._metainfo, self._source, consequence)
            self._is_told = True
        for leaf in leaf_datasets(dataset):
            check_class_names(leaf, num_classes, split)
            check_labels(leaf, num_classes, split)
        self._checked.add(id(dataset))
        return bool(renumbered)


def _tell_faults(runner: Runner, dataset: Any, num_classes: int) -> None:
    names = (getattr(dataset, 'metainfo', None) or {}).get('classes') or [f'class {i}' for i in range(num_classes)]
    others = {} if runner.val_loop is None else {'val': runner.val_loop.dataloader.dataset}
    faults = summarise_faults(dataset, others, names)
    if faults:
        config = shlex.quote(str(written_config(runner)))
        runner.logger.warning(f'data: {faults}; listed by: glsim stats {config}')


def is_training(runner: Runner) -> bool:
    """Whether a runner trains: there is no public sign, but `train` builds its loop before it loads a checkpoint."""
    return isinstance(runner._train_loop, BaseLoop)


def _num_classes(runner: Runner) -> int | None:
    return getattr(getattr(unwrap_model(runner.model), 'head', None), 'num_classes', None)


def judges_classes(metrics: Sequence[BaseMetric]) -> bool:
    """Whether a loop needs data with the classes of the head; metrics of image search alone do not.

    Metrics that do not are mmpretrain's for retrieval and those with ``needs_classes = False``.
    """
    judges = [metric for metric in metrics if not isinstance(metric, DumpResults)]
    return not judges or any(map(_needs_classes, judges))


def check_class_names(dataset: object, num_classes: int, split: str = '') -> None:
    """Raise :class:`GLSimError` if the dataset names another number of classes; without names there is no check."""
    names = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    if names is not None and len(names) != num_classes:
        advice = f'set --cfg-options model.head.num_classes={len(names)}'
        if split == 'test':  # the weights are as they are
            advice = 'test with the classes that the model was trained with, metainfo=dict(classes=...) of the data set'
        raise GLSimError(
            f'{place_of(dataset, split)} has {len(names)} classes but the head has {num_classes}; {advice}'
        )


def check_predictions(head: Any, metrics: Sequence[BaseMetric], field: str) -> None:
    """Raise :class:`GLSimError` if a metric of mmpretrain in this field judges classes and the head predicts none."""
    judges = [type(metric).__name__ for metric in metrics if isinstance(metric, _OF_CLASSES)]
    if judges and not getattr(head, 'classifies', True):
        raise GLSimError(
            f'{judges[0]} judges predicted classes, but {type(head).__name__} with this loss predicts none; set '
            f"{field}=dict(type='RetrievalMetrics') in the config, or take a loss with class vectors, as ArcFaceLoss"
        )


def check_top_k(metrics: Sequence[BaseMetric], num_classes: int, field: str) -> None:
    """Raise :class:`GLSimError` if a metric in this field of the config asks for more classes than there are."""
    for place, metric in enumerate(metrics):
        top = max((getattr(metric, 'topk', None) or (0,)) if _needs_classes(metric) else (0,))
        if top > num_classes:
            raise GLSimError(
                f'{type(metric).__name__} asks for top-{top}, but the head has {num_classes} classes; '
                f'set --cfg-options {field}.{place}.topk=1 (val_evaluator and test_evaluator have it each)'
            )


def _needs_classes(metric: BaseMetric) -> bool:
    ranks_images = isinstance(metric, (RetrievalAveragePrecision, RetrievalRecall))
    return not ranks_images and getattr(metric, 'needs_classes', True)


def check_labels(dataset: Any, num_classes: int, split: str = '') -> None:
    """Raise :class:`GLSimError` if a label is not in [0, num_classes)."""
    if not hasattr(dataset, 'get_data_info'):
        return
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        labels = np.atleast_1d(info.get('gt_label', ()))
        if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
            raise GLSimError(
                f'{place_of(dataset, split)} labels {info.get("img_path", f"image {index}")} as {labels.max()}, but '
                f'the head has {num_classes} classes from 0; correct the labels or set model.head.num_classes'
            )


class Match(NamedTuple):
    """Names of a model's tensors, by what a checkpoint holds for them."""

    fitting: list[str]
    missing: list[str]
    misshapen: list[str]


@HOOKS.register_module()
class CheckpointGuardHook(Hook):
    """Stops a run if a checkpoint was made by another architecture, which mmengine only logs.

    For testing and resuming each tensor of the model must be in the checkpoint. Training from a checkpoint
    (``load_from``) needs half of the backbone's tensors, so that another head or image size is allowed::

        custom_hooks = [dict(type='CheckpointGuardHook')]

    Raises:
        GLSimError: If the checkpoint does not belong to the model.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare names and shapes before weights are copied."""
        name = str(runner._load_from)
        state = unwrap_model(runner.model).state_dict()
        checkpoint['state_dict'] = weights_for(state, checkpoint, name)
        found = match_tensors(state, checkpoint['state_dict'])
        tell_differences(runner.cfg.get('model') or {}, (checkpoint.get('meta') or {}).get('model'), name)
        training = is_training(runner)
        if training and not runner._resume:
            check_fine_tuning(found, name)
            if found.missing or found.misshapen:
                runner.logger.info(f'{name} lacks some tensors, which keep their initial values: {_name_some(found)}')
            return
        check_complete(found, name)
        if training and not {'meta', 'message_hub', 'optimizer'} <= set(checkpoint):
            raise GLSimError(f'{name} holds weights only and cannot be resumed; start from it with load_from={name}')


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
    if found.missing or found.misshapen:
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


def _count_backbone(found: Match) -> str:
    fitting, *others = (sum(name.startswith('backbone.') for name in names) for names in found)
    return f'{fitting} of {fitting + sum(others)} backbone tensors match'


def _name_some(found: Match) -> str:
    kinds = (('missing', found.missing), ('of another shape', found.misshapen))
    return ', '.join(f'{what}: {name_some(names, _NUM_NAMED)}' for what, names in kinds if names)
