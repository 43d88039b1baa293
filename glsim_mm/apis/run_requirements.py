"""What a run needs, found out from its config before anything is built."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from mmengine.config import Config
from mmengine.runner import EpochBasedTrainLoop, Runner

from ..compat.distributed import check_launcher
from ..errors import GLSimError
from .photo_pipeline import type_name

# Types that import a package only when they are used, the package, and how it is installed.
_PACKAGES = {
    'TensorboardVisBackend': ('tensorboard', 'tensorboard'),
    'WandbVisBackend': ('wandb', 'wandb'),
    'MLflowVisBackend': ('mlflow', 'mlflow'),
    'ClearMLVisBackend': ('clearml', 'clearml'),
    'NeptuneVisBackend': ('neptune', 'neptune'),
    'DVCLiveVisBackend': ('dvclive', 'dvclive'),
    'AimVisBackend': ('aim', 'aim'),
    'MetricLearningLoss': ('pytorch_metric_learning', 'pytorch-metric-learning'),
}


def check_requirements(cfg: Config) -> None:
    """Raise :class:`GLSimError` if a package or a field is missing that would be missed in the midst of a run."""
    for part in _parts(dict(cfg)):
        name = type_name(part).rpartition('.')[2]
        package, install = _PACKAGES.get(name, ('', ''))
        if package and not _is_installed(package):
            raise GLSimError(f'{name} needs {package}: pip install {install}, or take {name} out of the config')
    _check_batch_augments(cfg)
    check_launcher(cfg.get('launcher') or 'none')


def check_batches(runner: Runner) -> None:
    """Raise :class:`GLSimError` if an epoch of training has no batch; builds the data of training."""
    loop = runner.train_loop
    if isinstance(loop, EpochBasedTrainLoop) and len(loop.dataloader) == 0:
        images, size = len(loop.dataloader.sampler), getattr(loop.dataloader, 'batch_size', None)
        raise GLSimError(
            f'an epoch of training has no batch: drop_last leaves out batches of less than {size} images, and there '
            f'are {images} for each process; set --cfg-options train_dataloader.batch_size={images or 1} or less'
        )


def _check_batch_augments(cfg: Config) -> None:
    """Mixup and its like mix labels, for which mmpretrain's preprocessor must know their number."""
    model = cfg.get('model') or {}
    train_cfg = model.get('train_cfg') or {}
    if not train_cfg.get('augments') or cfg.get('train_dataloader') is None:
        return
    field = 'model.data_preprocessor' if model.get('data_preprocessor') else 'data_preprocessor'
    settings = model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    known, wanted = settings.get('num_classes'), (model.get('head') or {}).get('num_classes')
    if known is None or (wanted is not None and known != wanted):
        raise GLSimError(
            f'augments of whole batches, such as mixup, mix the labels of {wanted or "all"} classes, but '
            f'{field}.num_classes is {known}; set --cfg-options {field}.num_classes={wanted or "N"}'
        )


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def _parts(node: Any) -> Iterator[Mapping]:
    """All dicts with a type in a config."""
    if isinstance(node, Mapping):
        if node.get('type') is not None:
            yield node
        for item in node.values():
            yield from _parts(item)
    elif isinstance(node, list | tuple):
        for item in node:
            yield from _parts(item)
