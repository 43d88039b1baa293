"""What users call: training, testing, configs."""

from .command_line import report_user_errors
from .inferencer import GLSimInferencer, find_images, format_prediction, predict_files
from .model import load_model
from .options import (
    load_config,
    override,
    set_dataloader_options,
    set_test_options,
    set_training_options,
    set_work_dir,
)
from .predictions import draw_test_set
from .runner import build_runner, run_testing, run_training

__all__ = [
    'GLSimInferencer',
    'draw_test_set',
    'find_images',
    'format_prediction',
    'load_model',
    'predict_files',
    'build_runner',
    'load_config',
    'override',
    'report_user_errors',
    'run_testing',
    'run_training',
    'set_dataloader_options',
    'set_test_options',
    'set_training_options',
    'set_work_dir',
]
