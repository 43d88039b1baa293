"""Training and testing of a config, with the work-arounds that today's libraries need."""

import copy
from pathlib import Path

import mmengine
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import DumpResults
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from ..checkpoints.checkpoint_files import load_checkpoint_file
from ..compat.compilation import compile_backbone, pop_compile_options
from ..compat.devices import fit_dataloaders, fit_mixed_precision
from ..compat.distributed import leave_process_group, use_cpu_distributed
from ..compat.old_calls import ignore_known_warnings
from ..engine.hooks.resuming import ResumeHook
from ..engine.hooks.run_checks import NumClassesCheckHook
from ..engine.hooks.wrappers import unwrap_model
from ..engine.resumption import check_resumption, find_last_checkpoint, read_settings
from ..errors import GLSimError, explain_missing
from ..models.classifiers import check_parts
from ..output_files import check_output_file, check_output_folder, full_disk_explained, replace_with
from ..result_files import check_result_file
from .config_errors import explain_config_errors
from .confusion_report import add_confusion_pairs, check_error_report, log_confusion_pairs, write_error_report
from .model import check_model
from .photo_pipeline import type_name
from .pipeline_scale import scale_pipelines
from .run_console import RunConsole
from .run_requirements import check_batches, check_requirements


def build_runner(cfg: Config, console: RunConsole | None = None) -> Runner:
    """Build the runner of a config; the config is not changed.

    Besides what mmengine does: checkpoints are read without running code from them and written whole, splits and
    checkpoint are compared by the names of their classes, mixed precision and distributed runs work on CPU,
    ``num_workers=0`` works, and ``compile`` compiles the backbone, not the training step.

    Args:
        cfg: Config with all fields of a run, ``work_dir`` among them.
        console: Where a person reads the run; without one, mmengine writes its log to standard output.

    Returns:
        A runner that is ready to train or test.

    Raises:
        GLSimError: If a field of the config is unknown or missing, a package that it needs is not installed, or the
            work directory cannot be written.
    """
    cfg = copy.deepcopy(cfg)
    check_output_folder(cfg.work_dir)
    check_requirements(cfg)
    scale_pipelines(cfg)
    if 'runner_type' not in cfg and isinstance(cfg.get('model'), dict):
        check_model(cfg)
    fit_dataloaders(cfg)
    mark_test_tables(cfg)
    keep_checkpoints_whole(cfg)
    fit_mixed_precision(cfg)
    use_cpu_distributed(cfg)
    compile_options = pop_compile_options(cfg)
    with explain_config_errors(), ignore_known_warnings():
        if console is not None:
            kind = RUNNERS.get(cfg.runner_type) if 'runner_type' in cfg else Runner
            runner = console.runner_class(kind).from_cfg(cfg)
        else:
            runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    check_parts(unwrap_model(runner.model), needs_head=True)
    for kind in (NumClassesCheckHook, ResumeHook):  # a config that inherits nothing from here is checked too
        if not any(isinstance(hook, kind) for hook in runner.hooks):
            runner.register_hook(kind())
    if compile_options is not None:
        compile_backbone(runner, compile_options)
    return runner


def mark_test_tables(cfg: Config) -> None:
    """Tell the tables of validation and test what they are for, whatever the word for their split, in place."""
    inside = [(cfg.get(name) or {}).get('dataset') for name in ('val_dataloader', 'test_dataloader')]
    while inside:
        dataset = inside.pop()
        if isinstance(dataset, dict):
            inside += [dataset.get('dataset'), *(dataset.get('datasets') or ())]
            if 'type' in dataset and type_name(dataset).endswith('TableDataset'):
                dataset.setdefault('test_mode', True)


def keep_checkpoints_whole(cfg: Config) -> None:
    """Let mmengine's hook that saves checkpoints write each of them whole or not at all, in place."""
    hooks = cfg.setdefault('default_hooks', ConfigDict())
    hook = hooks.setdefault('checkpoint', ConfigDict(type='CheckpointHook', interval=1))  # mmengine's default
    if isinstance(hook, dict) and 'type' in hook and type_name(hook).rpartition('.')[2] == 'CheckpointHook':
        hook['type'] = 'mmpretrain.WholeCheckpointHook'


def run_training(cfg: Config, console: RunConsole | None = None) -> Runner:
    """Train the model of a config.

    Args:
        cfg: Config of a run.
        console: As for :func:`build_runner`.

    Raises:
        GLSimError: If the config, its data or its checkpoints cannot be used, or the loss is NaN.
    """
    _check_load_from(cfg)
    _check_resumed(cfg)
    with full_disk_explained(cfg.work_dir):
        runner = build_runner(cfg, console)
    try:
        with explain_config_errors(), full_disk_explained(cfg.work_dir), ignore_known_warnings():
            if console is not None:
                console.watch(runner, training=True)
            check_batches(runner)
            runner.train()
    finally:
        leave_process_group(runner)
    return runner


def find_best_checkpoint(runner: Runner) -> str | None:
    """The checkpoint with the best validation of a run that is done, else its last one; None if it wrote none."""
    best = runner.message_hub.runtime_info.get('best_ckpt')
    last = find_last_checkpoint(runner.work_dir)
    return best or (str(last) if last else None)


def run_testing(
    cfg: Config,
    out: str | None = None,
    out_item: str = 'pred',
    error_report: str | None = None,
    console: RunConsole | None = None,
) -> dict:
    """Test the model of a config; where every image has one label, the most confused classes go to the log.

    Args:
        cfg: Config of a run; ``load_from`` names the checkpoint.
        out: File for the results, .pkl, .json or .yml as mmengine writes them.
        out_item: ``'pred'`` for predictions (.pkl only) or ``'metrics'``.
        error_report: File for a report of the mistakes with pictures, HTML.
        console: As for :func:`build_runner`.

    Returns:
        Metrics by name.

    Raises:
        GLSimError: If the config, its data or its checkpoint cannot be used.
    """
    if out:
        check_result_file(out, out_item)
        check_output_file(out)
    _check_load_from(cfg)
    with full_disk_explained(cfg.work_dir):
        runner = build_runner(cfg, console)
    try:
        with explain_config_errors(), full_disk_explained(cfg.work_dir):
            if console is not None:
                console.watch(runner, training=False)
            if out and out_item == 'pred':
                runner.test_evaluator.metrics.append(_DumpWholeResults(out_file_path=out))
            confusions = add_confusion_pairs(runner.test_evaluator)
            if error_report:
                check_error_report(runner, confusions, error_report)
            metrics = runner.test()
            if out and out_item == 'metrics' and runner.rank == 0:
                replace_with(out, lambda partial: mmengine.dump(metrics, partial, Path(out).suffix[1:]))
            if confusions is not None and runner.rank == 0:
                log_confusion_pairs(runner, confusions)
            if error_report and confusions is not None and runner.rank == 0:
                path = write_error_report(runner, confusions, error_report, metrics)
                runner.logger.info('report of the mistakes in %s', path)
    finally:
        leave_process_group(runner)
    return metrics


class _DumpWholeResults(DumpResults):
    """Writes the predictions in one step, so that a full disk leaves no half file."""

    def compute_metrics(self, results: list) -> dict:
        replace_with(self.out_file_path, lambda partial: mmengine.dump(results, partial, 'pkl'))
        print_log(f'predictions in {self.out_file_path}', logger='current')
        return {}


def _check_resumed(cfg: Config) -> None:
    """Find out before the data is read whether a run can go on with this config; the hook looks at the rest."""
    path = cfg.get('load_from') or (find_last_checkpoint(cfg.work_dir) if cfg.get('resume') else None)
    if cfg.get('resume') and path and Path(path).expanduser().is_file():
        content = load_checkpoint_file(path, map_location='cpu')
        settings = read_settings(content.get('meta') or {}) if isinstance(content, dict) else None
        if settings is not None:
            check_resumption(settings, cfg.to_dict(), str(path))


def _check_load_from(cfg: Config) -> None:
    """Report a missing checkpoint before minutes are spent on data; a folder may hold the shards of one."""
    path = cfg.get('load_from')
    if path and '://' not in path and not Path(path).expanduser().exists():
        raise GLSimError(explain_missing('checkpoint', path))
