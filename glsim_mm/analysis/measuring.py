"""What all studies share: times that can be compared, memory, tables and files of results.

Light: torch is loaded only where a GPU is waited for, so that studies of the search alone run without it.
"""

import multiprocessing
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from ..compat import import_mmpretrain
from ..errors import GLSimError

# GLSimViT's name, timm's name, width. Patches of 16 pixels.
SIZES = {
    'vit-tiny': ('vit_tiny_patch16_224', 192),
    'vit-small': ('vit_small_patch16_224', 384),
    'vit-base': ('vit_base_patch16_224', 768),
}
PLAIN, STRAIGHTFORWARD, EAGER = 'plain', 'straightforward', 'eager'
MODES = (
    *(EAGER, 'compiled', 'onnxruntime', 'openvino'),  # the same numbers
    *('torch-linear', 'half-crop', 'merged', 'bf16', 'int8', 'off'),
)


def check_workloads(
    models: Sequence[str], sizes: Sequence[int], batches: Sequence[int], modes: Sequence[str] = ()
) -> None:
    """Raise :class:`GLSimError` unless all names are known, images have whole patches, and batches have images."""
    for what, names, known in (('mode', modes, MODES), ('model', models, SIZES)):
        for name in names:
            if name not in known:
                raise GLSimError(f'there is no {what} {name!r}; choose from {", ".join(known)}')
    for size in sizes:
        if size % 32 or size < 32:
            raise GLSimError(f'image sizes are multiples of 32 pixels here, got {size}')
    if min(batches, default=1) < 1:
        raise GLSimError('batch sizes must be 1 or more')


class Spread(NamedTuple):
    """A median and the range around it: of a sample, unless stated otherwise, from one tenth to nine tenths."""

    median: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        """``'1.02 (0.98-1.05)'``, each number as the format says."""
        return f'{self.median:{spec}} ({self.low:{spec}}-{self.high:{spec}})'


def spread(values: Sequence[float]) -> Spread:
    """Median and tenths of a sample."""
    low, high = np.quantile(values, [0.1, 0.9])
    return Spread(median(values), float(low), float(high))


def times_as_fast(seconds: Sequence[float], reference: Sequence[float]) -> Spread:
    """How many times as fast one contender is as another, round by round; above 1 it is faster."""
    return spread([other / own for own, other in zip(seconds, reference)])


def time_in_turns(
    contenders: Mapping[str, Callable[[], Any]],
    rounds: int,
    device: Any = 'cpu',
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Call every contender once a round, after one round that does not count; seconds of each round, by name.

    The order moves on by one each round, so that none always follows the same other one. What disturbs the machine
    disturbs all of them, which is why ratios within a round say more than times. The work of ``device`` is waited for;
    ``clock`` may be ``time.process_time``.
    """
    wait = waits_for(device)
    names = list(contenders)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            wait()
            start = clock()
            contenders[name]()
            wait()
            if number:
                times[name].append(clock() - start)
    return times


def waits_for(device: Any) -> Callable[[], None]:
    """A function that returns when a device has done its work so far."""
    if not str(device).startswith('cuda'):
        return lambda: None
    import torch

    return lambda: torch.cuda.synchronize(device)


def cuda_peak(run: Callable[[], Any], device: Any) -> int:
    """Most bytes that a call allocates on a GPU at a time; a call before it fills caches and loads libraries."""
    import torch

    run()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    return torch.cuda.max_memory_allocated(device) - before


def resident_growth(run: Callable[[], Any]) -> int:
    """Bytes by which a call raises this process's resident memory at most; for a process that does nothing else."""
    clear = Path('/proc/self/clear_refs')
    if clear.exists():
        clear.write_text('5')  # forget the largest resident set so far
    before = peak_bytes()
    result = run()
    peak = peak_bytes() - before
    del result
    return max(peak, 0)


def peak_bytes() -> int:
    """Largest resident set of this process so far; 0 where the system does not tell."""
    found = _from_status('VmHWM')  # getrusage would count the parent's memory from before exec
    if found is not None:
        return found
    try:
        import resource  # not on Windows
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else peak * 1024


def resident_bytes() -> int:
    """Resident set of this process now; the largest so far where the system does not tell."""
    found = _from_status('VmRSS')
    return peak_bytes() if found is None else found


def _from_status(field: str) -> int | None:
    """Bytes that Linux notes of this process."""
    status = Path('/proc/self/status')
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


class MeasuringProcesses:
    """Runs functions in short-lived processes, one each, because a process's memory shows only its growth.

    They are forked from one that has imported everything and done nothing else, so imports of seconds are paid once,
    at the first call.

    Example::

        with MeasuringProcesses() as processes:
            growth = processes.call(measure_growth, 'vit-base')
    """

    def __init__(self) -> None:
        self._server: BaseProcess | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> 'MeasuringProcesses':
        return self

    def _start(self) -> None:
        # Not the fork server of multiprocessing: before Python 3.13 it does not know this process's sys.path.
        context = multiprocessing.get_context('spawn')
        self._connection, remote = context.Pipe()
        self._server = context.Process(target=_serve, args=(remote,))
        self._server.start()
        remote.close()

    def __exit__(self, *error: object) -> None:
        if self._server is not None:
            self._connection.close()
            self._server.join()

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Result of ``function(*args)``, called in a new process; None if memory did not suffice.

        Processes find functions that are defined at the top of a module. Where one fails, its process has printed a
        traceback.
        """
        if self._server is None:
            self._start()
        try:
            self._connection.send((function, args))
            failed, result = self._connection.recv()
        except (EOFError, BrokenPipeError) as error:
            raise RuntimeError('the process that measures memory has ended') from error
        if failed:
            raise RuntimeError(f'measuring the memory of {args[0]} failed; see above')
        return result


def _serve(connection: Connection) -> None:
    """Run one process per request until the other side closes."""
    import_mmpretrain()
    can_fork = 'fork' in multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context('fork' if can_fork else 'spawn')
    while True:
        try:
            function, args = connection.recv()
        except EOFError:
            return
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_send_result, args=(sender, function, args))
        process.start()
        sender.close()
        try:
            result = receiver.recv()
        except EOFError:
            result = None
        process.join()
        # A killed process, which has a negative code, is one that asked for too much memory.
        connection.send((process.exitcode is not None and process.exitcode > 0, result))


def _send_result(sender: Connection, function: Callable[..., Any], args: tuple) -> None:
    import_mmpretrain()
    sender.send(function(*args))


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [heads, ['---'] * len(heads), *rows]
    return '\n'.join(f'| {" | ".join(map(str, line))} |' for line in lines)
