"""Fixtures of the command lines' tests."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from tiny_run import write_config, write_images


@pytest.fixture(scope='session')
def tiny_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight training and eight validation PNG files of two classes."""
    return write_images(tmp_path_factory.mktemp('tiny') / 'images')


@pytest.fixture(scope='session')
def model_files(tmp_path_factory) -> tuple[Path, Path, Path]:
    """Config, checkpoint with random weights, and a folder of 8 validation images in two sub-folders."""
    folder = tmp_path_factory.mktemp('build')
    images = write_images(folder / 'images')
    config = write_config(folder / 'tiny_build.py', images)
    torch.manual_seed(0)
    model = MODELS.build(dict(Config.fromfile(config).model, type='mmpretrain.GLSimClassifier'))
    torch.save({'state_dict': model.state_dict()}, folder / 'weights.pth')
    return config, folder / 'weights.pth', images / 'val'


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without --work-dir write below the current folder, which shall not be the repository."""
    monkeypatch.chdir(tmp_path)
