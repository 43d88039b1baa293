"""Checks of a GPU: tests, parity with the CPU, mixed precision, two processes, hidden waits, speed.

Each check runs in a process of its own: FAISS aborts on what it does not expect, an error on the GPU spoils its process
for all that follows, and memory is free again afterwards. So one check that fails, hangs or runs out of memory ends
none of the others.
"""

import importlib
import json
import multiprocessing
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import metadata
from importlib.util import find_spec
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from ..errors import GLSimError
from ..output_files import write_json
from ..version import __version__
from .gpu_outcome import (
    FAILED,
    SKIPPED,
    CheckFailedError,
    NotHereError,
    Outcome,
    Scope,
    format_outcome,
    last_lines,
    write_report,
)

LIMIT = 480.0  # seconds of all checks together
CPU_PATIENCE = 4  # times as long on the CPU, where nobody waits for the numbers
_LEAST = 5.0  # seconds that are worth a start
_MODEL = ('torchvision', 'timm', 'mmengine', 'mmcv', 'mmpretrain')
_PACKAGES = (
    *('torch', 'torchvision', 'timm', 'mmengine', 'mmcv', 'mmcv-lite', 'mmpretrain', 'numpy'),
    *('faiss-gpu', 'faiss-gpu-cuvs', 'faiss-gpu-cu11', 'faiss-gpu-cu12', 'faiss-cpu', 'pytest'),
)


class Check(NamedTuple):
    """A row of :data:`CHECKS`.

    Attributes:
        name: For people.
        function: Module and name of a function that takes a :class:`Scope` and returns an :class:`Outcome`; it raises
            :class:`NotHereError` to be skipped.
        seconds: After so many on a GPU it is ended.
        needs: Modules without which it is skipped.
    """

    name: str
    function: str
    seconds: float
    needs: tuple[str, ...] = ()


CHECKS = (
    Check('model parity', 'glsim_mm.analysis.gpu_model_checks:check_parity', 80, _MODEL),
    Check('mixed precision', 'glsim_mm.analysis.gpu_model_checks:check_mixed_precision', 50, _MODEL),
    Check('hidden waits', 'glsim_mm.analysis.gpu_model_checks:check_waits', 40, _MODEL),
    Check('two processes', 'glsim_mm.analysis.gpu_model_checks:check_two_processes', 70, _MODEL),
    Check('index parity', 'glsim_mm.analysis.gpu_index_checks:check_parity', 60, ('faiss',)),
    Check('model speed', 'glsim_mm.analysis.gpu_model_checks:measure_speed', 90, _MODEL),
    Check('index speed', 'glsim_mm.analysis.gpu_index_checks:measure_speed', 60, ('faiss',)),
    Check('tests', 'glsim_mm.analysis.gpu_index_checks:run_tests', 60, ('pytest', 'hypothesis', 'faiss', 'mmengine')),
)


def check_device(device: str) -> None:
    """Refuse a device that torch cannot compute on.

    Raises:
        GLSimError: With what to type.
    """
    import torch

    if device == 'cpu':
        return
    if not device.startswith('cuda'):
        raise GLSimError(f'the check is for GPUs that CUDA or ROCm know, as cuda or cuda:1, got {device}')
    if not torch.cuda.is_available():
        raise GLSimError(
            f'torch {torch.__version__} finds no GPU that it can use; --device cpu goes through the same checks there'
        )
    number = torch.device(device).index or 0
    if number >= torch.cuda.device_count():
        raise GLSimError(f'there is no {device}: this machine has cuda:0 to cuda:{torch.cuda.device_count() - 1}')


def run_checks(
    scope: Scope, folder: Path, tell: Callable[[str], Any], checks: Sequence[Check] = CHECKS, limit: float = LIMIT
) -> list[Outcome]:
    """Run checks one after the other, tell each in a line, and write the report to ``folder`` after each."""
    machine, patience = describe_machine(scope), 1 if scope.on_gpu else CPU_PATIENCE
    deadline = time.monotonic() + patience * limit
    outcomes: list[Outcome] = []
    for check in checks:
        missing = [name for name in check.needs if not _is_there(name)]
        left = deadline - time.monotonic()
        if missing:
            outcome = Outcome(status=SKIPPED, said=f'needs {", ".join(missing)}, which Python does not find')
        elif left < min(_LEAST, patience * check.seconds):
            outcome = Outcome(
                status=SKIPPED, said=f'the {patience * limit / 60:.0f} minutes of all checks together are over'
            )
        else:
            outcome = run_alone(check, scope, min(left, patience * check.seconds))
        outcome.name = check.name
        outcomes.append(outcome)
        tell(format_outcome(outcome))
        write_report(folder, machine, scope, outcomes)
    return outcomes


def run_alone(check: Check, scope: Scope, seconds: float) -> Outcome:
    """Run one check in a process of its own, which is ended after so many seconds with all that it has started."""
    start = time.monotonic()
    with TemporaryDirectory() as folder:
        result, log = Path(folder, 'result.json'), Path(folder, 'log.txt')
        process = _context(scope).Process(target=_run, args=(check.function, scope, str(result), str(log)))
        process.start()
        try:
            process.join(seconds)
            is_late = process.is_alive()
        finally:
            _end(process)
        written = log.read_text(encoding='utf-8', errors='replace') if log.exists() else ''
        if result.exists():
            outcome = Outcome(**json.loads(result.read_text(encoding='utf-8')))
        elif is_late:
            outcome = Outcome(status=FAILED, said=f'it took longer than {seconds:.0f} seconds and was ended')
        else:
            outcome = Outcome(status=FAILED, said=_why(written, process.exitcode))
        if outcome.status == FAILED:
            outcome.log = last_lines(written)
    outcome.seconds = round(time.monotonic() - start, 1)
    return outcome


def describe_machine(scope: Scope) -> dict[str, str]:
    """Versions and device, for the head of the report."""
    import torch

    found = {'glsim_mm': __version__, 'system': f'{platform.system()} {platform.machine()}'}
    found['python'] = platform.python_version()
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    found['threads'] = str(torch.get_num_threads())
    if not scope.on_gpu:
        return {**found, 'device': 'cpu'}
    properties = torch.cuda.get_device_properties(scope.device)
    found['device'] = f'{properties.name}, {properties.total_memory / 2**30:.0f} GiB'
    found['compute capability'] = f'{properties.major}.{properties.minor}'
    found['GPUs'] = str(torch.cuda.device_count())
    found['CUDA of torch'] = str(torch.version.cuda or torch.version.hip)
    found['cuDNN'] = str(torch.backends.cudnn.version())
    return found


def _run(function: str, scope: Scope, result: str, log: str) -> None:
    """Run a check in a process that was made for it, and leave its outcome in a file."""
    if hasattr(os, 'setsid'):
        os.setsid()  # so that all that it starts can be ended with it
    file = open(log, 'w', encoding='utf-8', buffering=1)  # stays open for the traceback that comes last
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
    sys.stdout = sys.stderr = file
    module, name = function.split(':')
    try:
        outcome = getattr(importlib.import_module(module), name)(scope)
    except NotHereError as reason:
        outcome = Outcome(status=SKIPPED, said=str(reason))
    except CheckFailedError as reason:
        outcome = Outcome(status=FAILED, said=str(reason))
    write_json(result, asdict(outcome))


def _context(scope: Scope) -> Any:
    """CUDA must not be forked; without it, forking spares imports of seconds."""
    import torch

    can_fork = 'fork' in multiprocessing.get_all_start_methods() and not torch.cuda.is_available()
    return multiprocessing.get_context('fork' if can_fork and not scope.on_gpu else 'spawn')


def _end(process: BaseProcess) -> None:
    if process.is_alive() and hasattr(os, 'killpg'):
        # Not before it is the head of a group of its own.
        if process.pid is not None and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _why(written: str, code: int | None) -> str:
    """Why a process ended without a result: the last line of its traceback, or the signal."""
    if code is not None and code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = str(-code)
        lines = [line for line in written.splitlines() if 'assertion' in line or 'rror' in line]
        return f'its process was ended by {name}{": " + lines[-1].strip()[:200] if lines else ""}'
    lines = written.strip().splitlines()
    return lines[-1].strip()[:300] if lines else f'its process ended with code {code}'


def _is_there(name: str) -> bool:
    """Whether Python finds a module, without loading it."""
    return name in sys.modules or find_spec(name) is not None
