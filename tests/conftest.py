"""Fixtures shared by all tests."""

import os
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(Path(__file__).resolve().parent))  # tests import their helpers by plain name


@pytest.fixture(autouse=True, scope='session')
def _two_threads():
    """Small models run slower on many threads, and test machines are shared."""
    torch.set_num_threads(min(2, os.cpu_count() or 1))


@pytest.fixture(scope='session')
def root() -> Path:
    """Root of the repository."""
    return ROOT


@pytest.fixture(scope='session')
def shared_root() -> Path:
    """Data that is not part of the repository, beside it; see CONTRIBUTING.md."""
    shared = ROOT.parent / 'shared'
    if not (shared / 'golden').is_dir():
        if os.environ.get('GLSIM_REQUIRE_SHARED') == '1':
            pytest.fail(f'GLSIM_REQUIRE_SHARED=1, but {shared} is not there')
        pytest.skip('needs the shared data folder beside the repository')
    return shared
