"""What users call: training, testing, configs."""

from ..engine.hooks.run_report import written_config
from ..errors import report_user_errors
from ..images.results import format_prediction, results_to_json
from .dataset_pictures import PictureOptions, WrittenPictures, compare_selectors, draw_selectors, draw_test_set
from .inferencer import GLSimInferencer
from .model import load_model
from .model_hub import register_models
from .options import (
    allow_missing_classes,
    load_config,
    override,
    set_dataloader_options,
    set_off_centre,
    set_test_options,
    set_training_options,
    set_work_dir,
)
from .run_console import RunConsole
from .runner import build_runner, find_best_checkpoint, run_testing, run_training
from .sweep_table import format_results_table, gather_results, write_results
from .sweep_trials import plan_sweep, run_sweep, training_command

__all__ = [
    'GLSimInferencer',
    'PictureOptions',
    'RunConsole',
    'WrittenPictures',
    'compare_selectors',
    'draw_selectors',
    'draw_test_set',
    'format_prediction',
    'format_results_table',
    'gather_results',
    'plan_sweep',
    'run_sweep',
    'training_command',
    'write_results',
    'written_config',
    'load_model',
    'register_models',
    'results_to_json',
    'allow_missing_classes',
    'build_runner',
    'find_best_checkpoint',
    'load_config',
    'override',
    'report_user_errors',
    'run_testing',
    'run_training',
    'set_dataloader_options',
    'set_off_centre',
    'set_test_options',
    'set_training_options',
    'set_work_dir',
]
