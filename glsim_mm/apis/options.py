"""Merging options of the command lines into a config; they mean what they mean in mmpretrain's tools."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.config.utils import ConfigParsingError
from mmengine.logging import print_log

from ..compat.config_bases import let_configs_inherit
from ..compat.devices import DATALOADERS, use_mixed_precision
from ..datasets import off_centre_pipeline
from ..engine.resumption import find_last_checkpoint
from ..errors import GLSimError, one_line
from ..result_files import check_views
from ..shipped_files import find_config, find_shipped_config
from .config_overrides import override
from .photo_pipeline import type_name
from .pipeline_scale import scale_pipelines


def load_config(path: str | Path, overrides: Mapping | None = None) -> Config:
    """Read a config file; its pipelines deliver what ``model.second_look.scale`` asks for.

    Args:
        path: The file, or the name of a config that the package ships, such as ``glsim_vit_cub``.
        overrides: Values by dotted names, as ``--cfg-options`` gives them.

    Raises:
        GLSimError: If the file does not exist or is no config, if what it inherits from or imports is not installed, or
            if an override names an unknown field.
    """
    path, _ = find_config(path)
    let_configs_inherit('glsim_mm', find_shipped_config)
    try:
        cfg = Config.fromfile(str(path))
    except (SyntaxError, FileNotFoundError, ConfigParsingError, OSError, AssertionError) as error:
        raise GLSimError(f'config file {path} cannot be read: {one_line(error)}') from error
    except ModuleNotFoundError as error:
        # mmengine looks for the projects that a config inherits from with pkg_resources.
        fix = 'pip install "setuptools<81"' if error.name == 'pkg_resources' else 'install it'
        raise GLSimError(
            f'config file {path} inherits from, or imports, what is not there: {one_line(error)}; {fix} '
            '(docs/guides/downstream.md has the versions)'
        ) from error
    return scale_pipelines(override(cfg, overrides or {}))


def set_work_dir(cfg: Config, config_path: str | Path, work_dir: str | None = None) -> None:
    """Set the folder of logs and checkpoints: the option, else the config's ``work_dir``, else ``work_dirs/NAME``."""
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(Path('work_dirs', Path(config_path).stem))


def set_training_options(
    cfg: Config,
    resume: str | None = None,
    amp: bool = False,
    auto_scale_lr: bool = False,
    validate: bool = True,
) -> None:
    """Merge the options of training into a config, in place.

    Args:
        resume: A checkpoint, or ``'auto'`` for the latest one in the work directory; if there is none, training starts
            from the beginning, or from the config's ``load_from``.
        amp: Mixed precision: float16 on GPU, bfloat16 on CPU.
        auto_scale_lr: Scale the learning rate with the total batch size.

    Raises:
        GLSimError: If the learning rate is to be scaled and the config does not name its base batch size.
    """
    if resume == 'auto' and cfg.get('work_dir') is not None:
        found = find_last_checkpoint(cfg.work_dir)
        if found is None:
            print_log(f'there is no checkpoint in {cfg.work_dir}: training starts from the beginning', 'current')
        resume = None if found is None else str(found)
    if resume is not None:
        cfg.resume = True
        cfg.load_from = None if resume == 'auto' else resume
    if amp:
        use_mixed_precision(cfg)
    if auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise GLSimError('--auto-scale-lr needs auto_scale_lr = dict(base_batch_size=...) in the config; add it')
        cfg.auto_scale_lr.enable = True
    if not validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None


def set_test_options(
    cfg: Config,
    checkpoint: str,
    amp: bool = False,
    tta: bool = False,
    visualization: Mapping | None = None,
) -> None:
    """Merge the options of testing into a config, in place.

    Args:
        checkpoint: Path or URL of the weights.
        tta: Test-time augmentation by the config's ``tta_model`` and ``tta_pipeline``, by default the mean of the
            logits of an image and its mirror image.
        visualization: Options of ``PredictionPictureHook``, to draw predictions.

    Raises:
        GLSimError: If pictures are asked for with test-time augmentation, which mmpretrain's hook cannot draw.
    """
    check_views(tta, visualization is not None)
    cfg.load_from, cfg.resume = checkpoint, False
    if amp:
        cfg.test_cfg = dict(cfg.get('test_cfg') or {}, fp16=True)
    if visualization is not None:
        hooks = cfg.setdefault('default_hooks', ConfigDict())
        hooks.visualization = dict(hooks.get('visualization') or dict(type='PredictionPictureHook'), **visualization)
        hooks.visualization['enable'] = True
    if tta:
        _set_test_time_augmentation(cfg)


def set_off_centre(cfg: Config) -> None:
    """Test under the off-centre protocol, in place: :class:`glsim_mm.datasets.OffCentre` joins the test pipeline.

    Validation stays as it is. Overrides come before it, because backgrounds are those of the training split as the
    config has it now.
    """
    cfg.test_dataloader = deepcopy(cfg.test_dataloader)  # a config may use one object for validation and test
    dataset = cfg.test_dataloader.dataset
    dataset.pipeline = off_centre_steps(cfg, dataset.pipeline)


def off_centre_steps(cfg: Config, pipeline: Sequence[Mapping]) -> list[dict]:
    """Steps of a test pipeline with :class:`glsim_mm.datasets.OffCentre`, backgrounds from the training split."""
    if not cfg.get('train_dataloader'):
        raise GLSimError('--off-centre takes backgrounds from the training split: the config has no train_dataloader')
    return off_centre_pipeline(pipeline, cfg.train_dataloader.dataset)


def allow_missing_classes(cfg: Config) -> None:
    """Accept splits that lack some of the classes, in place; see ``NumClassesCheckHook``."""
    hooks = list(cfg.get('custom_hooks') or ())
    checks = [hook for hook in hooks if type_name(hook).endswith('NumClassesCheckHook')]
    if not checks:
        checks = [ConfigDict(type='mmpretrain.NumClassesCheckHook')]
        hooks += checks
    for hook in checks:
        hook['allow_missing_classes'] = True
    cfg.custom_hooks = hooks


def set_dataloader_options(cfg: Config, pin_memory: bool = True, persistent_workers: bool = True) -> None:
    """Give data loaders mmpretrain's defaults where the config is silent, in place; False switches an option off."""
    for name in DATALOADERS:
        if cfg.get(name) is None:
            continue
        # A config may use one object for validation and test.
        loader = deepcopy(cfg[name])
        loader.setdefault('pin_memory', True)
        loader.setdefault('persistent_workers', True)
        loader.setdefault('collate_fn', dict(type='default_collate'))
        loader.update(
            pin_memory=loader.pin_memory and pin_memory,
            persistent_workers=loader.persistent_workers and persistent_workers,
        )
        cfg[name] = loader


def _set_test_time_augmentation(cfg: Config) -> None:
    dataset = cfg.test_dataloader.dataset
    cfg.setdefault('tta_model', ConfigDict(type='mmpretrain.MirrorTTA'))
    if 'tta_pipeline' not in cfg:
        *loading, packing = deepcopy(dataset.pipeline)
        mirrored = [[dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)], [packing]]
        cfg.tta_pipeline = [*loading, dict(type='TestTimeAug', transforms=mirrored)]
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    dataset.pipeline = cfg.tta_pipeline
