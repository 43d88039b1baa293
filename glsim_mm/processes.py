"""Runs a command in several processes of this machine, one for each GPU."""

import os
import socket
import subprocess
import sys
from pathlib import Path

_CONSOLE = 'from glsim_mm.command import main; main()'


def start_processes(count: int, root: Path) -> int:
    """Run the command line of this process again, so many times at once, and wait for the end.

    The processes find each other as those of torchrun do, by ``RANK``, ``WORLD_SIZE`` and ``MASTER_PORT`` in the
    environment; unlike torchrun, this adds nothing to what they say. Where one fails, the others are ended.

    Args:
        count: Number of processes.
        root: Folder of the package, which the processes put on their path.

    Returns:
        The exit code: 0, or that of the first process that failed.
    """
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    command = Path(sys.argv[0]).name.partition('glsim ')[2]
    program = ['-c', _CONSOLE, command] if command else [sys.argv[0]]
    shared = dict(
        WORLD_SIZE=str(count),
        LOCAL_WORLD_SIZE=str(count),
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
        PYTHONPATH=os.pathsep.join(filter(None, [str(root), os.environ.get('PYTHONPATH')])),
    )
    # One thread per process unless told otherwise, as torch and mmengine would set with a warning each.
    shared.update({name: os.environ.get(name, '1') for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')})
    running = [
        subprocess.Popen(
            [sys.executable, *program, *sys.argv[1:]],
            env={**os.environ, **shared, 'RANK': str(rank), 'LOCAL_RANK': str(rank)},
        )
        for rank in range(count)
    ]
    code = 0
    try:
        while running and not code:
            for process in list(running):
                try:
                    ended = process.wait(0.2)
                except subprocess.TimeoutExpired:
                    continue
                running.remove(process)
                code = code or ended
    except KeyboardInterrupt:  # which they got, too
        code = 130
    finally:
        for process in running:
            if code != 130:
                process.terminate()
            process.wait()
    return code if code >= 0 else 128 - code
