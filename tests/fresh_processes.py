"""Processes of their own, forked from one that has imported the model stack and done nothing with it.

Importing torch, mmpretrain and the project takes a process five seconds, most of what a command on tiny data takes. A
fork of the process that runs the tests would inherit their threads and what they have changed; one of this server has
its imports alone. Python's multiprocessing calls such a server a fork server. Tests of what a process imports, or
prints while it does, start a process for real: ``tiny_run.run_command``.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver
from pathlib import Path

import pytest
import torch.multiprocessing

ROOT = Path(__file__).resolve().parents[1]
PRELOADED = ['glsim_mm.apis', 'glsim_mm.models', 'glsim_mm.search', 'mmpretrain.models', 'faiss']


def server() -> multiprocessing.context.BaseContext:
    """The context of multiprocessing whose processes are such forks."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(PRELOADED)  # once it runs, it keeps what it has
    with pytest.MonkeyPatch.context() as patch:  # before Python 3.13, it does not know sys.path
        patch.setenv('PYTHONPATH', str(ROOT), prepend=os.pathsep)
        forkserver.ensure_running()
    return context


def run_ranks(function: Callable, *arguments: object, count: int = 2) -> None:
    """Call a function of a test module in several processes at once, with their numbers as first argument."""
    server()
    torch.multiprocessing.start_processes(function, arguments, nprocs=count, start_method='forkserver')


def run_tool(
    script: str | Path, *arguments: object, cwd: Path, terminal: str | None = None, **environment: object
) -> subprocess.CompletedProcess:
    """Run a script, by its path or as ``train`` for tools/train.py, as ``python SCRIPT ARGUMENT...`` would.

    Args:
        cwd: Its working folder.
        terminal: The path of a terminal to write to, in place of files that are read back.
        environment: Variables of the environment.
    """
    path = ROOT / 'tools' / f'{script}.py' if isinstance(script, str) else script
    words = [str(path), *map(str, arguments)]
    variables = {name: str(value) for name, value in environment.items()}
    with tempfile.TemporaryDirectory() as folder:
        streams = (terminal, terminal) if terminal else (f'{folder}/out', f'{folder}/err')
        process = server().Process(target=_run_script, args=(words, str(cwd), variables, streams))
        process.start()
        process.join()
        out, err = ('', '') if terminal else (Path(name).read_text() for name in streams)
    return subprocess.CompletedProcess(words, process.exitcode, out, err)


def run_tool_in_ranks(script: str, *arguments: object, cwd: Path, port: str) -> list[subprocess.CompletedProcess]:
    """Run a tool in two processes that meet at a port, as the scripts for several processes do."""
    common = dict(WORLD_SIZE=2, MASTER_ADDR='127.0.0.1', MASTER_PORT=port, cwd=cwd)
    with ThreadPoolExecutor(2) as pool:
        command = ('--launcher', 'pytorch', *arguments)
        runs = [pool.submit(run_tool, script, *command, RANK=rank, LOCAL_RANK=rank, **common) for rank in range(2)]
    return [run.result() for run in runs]


def _run_script(words: list[str], cwd: str, environment: dict[str, str], streams: tuple[str, str]) -> None:
    for number, path in enumerate((os.devnull, *streams)):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, buffering=1, closefd=False) for number, mode in enumerate('rww')
    )
    os.chdir(cwd)
    for name in ('COLUMNS', 'NO_COLOR'):
        os.environ.pop(name, None)
    os.environ.update(environment, OMP_NUM_THREADS='1')
    torch.set_num_threads(1)
    multiprocessing.set_start_method(None, force=True)  # for its own processes, the default again
    sys.argv = words
    sys.path.insert(0, str(Path(words[0]).parent))
    runpy.run_path(words[0], run_name='__main__')
