"""Fixtures shared by all tests."""

import gc
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

import faiss
import hypothesis
import mmengine.config.config as mmengine_config
import pytest
import torch
import yapf.yapflib.yapf_api as yapf_api
from mmengine.logging import MMLogger
from mmengine.visualization import Visualizer

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(Path(__file__).resolve().parent))  # tests import their helpers by plain name

# A commit is judged by the same examples wherever its tests run; GLSIM_RANDOM_EXAMPLES=1 looks for new ones.
hypothesis.settings.register_profile('same examples', derandomize=True)
if os.environ.get('GLSIM_RANDOM_EXAMPLES') != '1':
    hypothesis.settings.load_profile('same examples')

# A gallery makes each write durable, for which a disk takes longer than the tests compute; memory does not.
MEMORY = Path('/dev/shm')
if 'TMPDIR' not in os.environ and MEMORY.is_dir() and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 8 << 30:
        tempfile.tempdir = os.environ['TMPDIR'] = str(MEMORY)

# Jobs in the background of a shell ignore Ctrl-C, and hand that down to the commands that tests stop by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish():
    """What is imported stays; mmengine collects garbage for every data set, which takes half a second with it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope='session')
def _configs_are_formatted_once():
    """A run of mmengine formats its config eight times, half of the time that a run on tiny data takes."""
    format_code = yapf_api.FormatCode

    @lru_cache(maxsize=64)
    def cached(text, style, options):
        return format_code(text, style_config=dict(style), **dict(options))

    def format_once(text, style_config, **options):
        return cached(text, tuple(style_config.items()), tuple(options.items()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yapf_api, 'FormatCode', format_once)  # OneDL's fork imports it when it is used
        patch.setattr(mmengine_config, 'FormatCode', format_once, raising=False)
        yield


@pytest.fixture(autouse=True)
def _loggers_write_to_an_open_stream():
    """mmengine's loggers keep the captured output of the test that made them, which is closed when that test ends."""
    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.stream = sys.stdout
    yield
    # A log file that a run has closed stays with its logger, to which the models of later tests write.
    for logger in MMLogger._instance_dict.values():
        for handler in list(logger.handlers):
            if isinstance(handler, logging.FileHandler) and handler.stream is None:
                logger.removeHandler(handler)


@pytest.fixture(autouse=True)
def _runs_of_one_second_share_no_visualizer():
    """mmengine names a run by the second of its start, and keeps what writes to its folder under that name."""
    yield
    for kind in (Visualizer, *Visualizer.__subclasses__()):
        kind._instance_dict.clear()


@pytest.fixture(autouse=True, scope='session')
def _one_thread():
    """Tiny models run slower on two, several times so where another job holds a core that the second spins for."""
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)


@pytest.fixture
def port() -> str:
    """A free port on the loopback interface, below those that the system gives out: nobody else takes it meanwhile."""
    candidates = range(20_000 + os.getpid() % 1_000 * 10, 32_000)
    for candidate in candidates:
        with socket.socket() as probe:
            try:
                probe.bind(('127.0.0.1', candidate))
            except OSError:
                continue
            return str(candidate)
    raise AssertionError(f'no free port in {candidates}')


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


@pytest.fixture(scope='session')
def made(tmp_path_factory) -> tuple[Path, Path, Path, Path]:
    """Config, checkpoint, images and the exported classifier, which takes five seconds to export."""
    from exported_files import write_model
    from tiny_run import call_tool

    folder = tmp_path_factory.mktemp('exported')
    config, weights, images = write_model(folder)
    path = folder / 'model.onnx'
    call_tool('export', config, weights, '--out', path)
    return config, weights, images, path


@pytest.fixture
def mmengine_log(caplog, monkeypatch):
    """What mmengine logs, whose loggers do not propagate to pytest's."""
    logger = MMLogger.get_current_instance()
    monkeypatch.setattr(logger, 'handlers', [*logger.handlers, caplog.handler])
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.INFO, logger.name)
    return caplog
