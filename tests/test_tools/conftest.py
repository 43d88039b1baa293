"""Fixtures of the command lines' tests."""

from pathlib import Path

import pytest
from tiny_run import write_images


@pytest.fixture(scope='session')
def tiny_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight training and eight validation PNG files of two classes."""
    return write_images(tmp_path_factory.mktemp('tiny') / 'images')


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without --work-dir write below the current folder, which shall not be the repository."""
    monkeypatch.chdir(tmp_path)
