"""A tiny GLSim model on tiny real images, and ways to run the command lines on it."""

import importlib.util
import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
CLASSES = ('plain', 'striped')
PER_CLASS = 4
_numbers = count()

CONFIG = """
_base_ = ['{root}/configs/_base_/default_runtime.py']
model = dict(
    type='GLSimClassifier',
    backbone=dict(
        type='GLSimViT', img_size=32, patch_size=8, drop_path_rate=0.2,
        arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)),
    neck=dict(type='GLSimSelector', top_o=3),
    head=dict(type='AggregatorHead', num_classes=2, in_channels=32, num_heads=2))
data_preprocessor = dict(mean=[127.0] * 3, std=[64.0] * 3, to_rgb=True, num_classes=2)
train_pipeline = [
    dict(type='LoadImage'), dict(type='Resize', scale=(32, 32)), dict(type='RandomFlip', prob=0.5),
    dict(type='PackInputs')]
test_pipeline = [
    dict(type='LoadImage', on_unreadable='blank'), dict(type='Resize', scale=(32, 32)), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='FolderDataset', data_root='{data}', data_prefix='train', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='FolderDataset', data_root='{data}', data_prefix='val', pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = [dict(type='Accuracy', topk=(1,))]
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=2, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(by_epoch=True, max_epochs=2)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=8)
"""


def write_images(folder: Path, side: int = 32) -> Path:
    """Write PNG files in one folder per class: noise, and noise with stripes."""
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for label, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for index in range(PER_CLASS):
                pixels = rng.integers(0, 128, (side, side, 3), dtype=np.uint8)
                pixels[::4] += np.uint8(120 * label)
                Image.fromarray(pixels).save(folder / split / name / f'{name}{index}.png')
    return folder


def write_config(path: Path, data: Path, extra: str = '') -> Path:
    """Write the config of a two-epoch run on the images at ``data``.

    mmengine shares loggers between runs of one name and second, so each config has a name of its own in this process.
    """
    path.write_text(f'{CONFIG.format(root=ROOT, data=data)}experiment_name = "tiny_{next(_numbers)}"\n{extra}')
    return path


def read_log(work_dir: Path) -> str:
    """The log of the one run that wrote to a folder."""
    (path,) = work_dir.rglob('*.log')
    return path.read_text()


def run_command(*command: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run a command line for real, without the package on the path, single-threaded for equal sums."""
    env = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    env.update({'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable, **environment})
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )


def call_tool(name: str, *arguments: object) -> None:
    """Call a command line of tools/ in this process; a user's mistake raises SystemExit."""
    module = load_tool(name)
    args = module.parse_args([str(argument) for argument in arguments])
    module.cli.run(module.main, args, check=getattr(module, 'check', None))


def load_tool(name: str) -> ModuleType:
    tools = str(ROOT / 'tools')
    if tools not in sys.path:
        sys.path.insert(0, tools)
    spec = importlib.util.spec_from_file_location(f'glsim_tool_{name}', ROOT / 'tools' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
