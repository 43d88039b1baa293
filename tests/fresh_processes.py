"""Processes of their own, forked from one that has imported the model stack and done nothing with it.

Importing torch, mmpretrain and the project takes a process five seconds, most of what a command on tiny data takes. A
fork of the process that runs the tests would inherit their threads and what they have changed; one of this server has
its imports alone. Python's multiprocessing calls such a server a fork server. Tests of what a process imports, or
prints while it does, start a process for real: ``tiny_run.run_command``.
"""

import json
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import forkserver, reduction
from pathlib import Path
from tempfile import TemporaryDirectory

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
    with TemporaryDirectory() as folder:
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


# What stands for Python in scripts of the shell: tools are run in forks, all else by Python itself.
FORKING_PYTHON = """#!/bin/sh
case $1 in tools/*) exec {python} -S -c '
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect(sys.argv[1])
    job = json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [job], [1, 2])
    server.shutdown(socket.SHUT_WR)
    sys.exit(int(server.recv(9)))
' {address} "$@" ;; *) exec {python} "$@" ;; esac
"""


@contextmanager
def forking_python(folder: Path) -> Iterator[None]:
    """While it is open, ``folder`` has a command ``python`` that runs tools, named as tools/NAME.py, in such forks."""
    with TemporaryDirectory() as place, socket.socket(socket.AF_UNIX) as listener, ThreadPoolExecutor(1) as pool:
        listener.bind(f'{place}/s')  # the path of a socket must be short
        listener.listen()
        (folder / 'python').write_text(FORKING_PYTHON.format(python=sys.executable, address=f'{place}/s'))
        (folder / 'python').chmod(0o755)
        answering = pool.submit(_answer, listener)
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
    answering.result()


def _answer(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # the listener is shut down
            return
        with connection:
            job, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 2)
            while part := connection.recv(1 << 16):
                job += part
            streams = [reduction.DupFd(one) for one in descriptors]
            process = server().Process(target=_run_script, args=(*json.loads(job), streams))
            process.start()
            for one in descriptors:
                os.close(one)
            process.join()
            connection.sendall(str(process.exitcode).encode())


def _run_script(words: list[str], cwd: str, environment: dict[str, str], streams: Sequence) -> None:
    for number, path in enumerate((os.devnull, *streams)):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT
        opened = os.open(path, flags, 0o600) if isinstance(path, str) else path.detach()
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
