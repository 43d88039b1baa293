"""Peak memory of a pass, measured: of the GPU's allocator, or of a process of its own on CPU."""

import multiprocessing
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from ..compat import import_mmpretrain
from .selection_cases import Case, Passes


class MemoryUse(NamedTuple):
    """Memory of one pass beyond model and images.

    Attributes:
        peak_bytes (int): Largest allocation at any time; on CPU the growth of the process's largest resident set.
        num_matrices (int): Largest number of S x S attention matrices alive at the same time, per image; every head of
            every layer has one.
    """

    peak_bytes: int
    num_matrices: int


class MemoryMeter:
    """Measures the peak memory of passes; use it as a context manager.

    On CPU each pass has a short-lived process of its own, because a process's memory shows only its growth. They are
    forked from one that has imported everything and done nothing else, so imports of seconds are paid once.

    Args:
        settings (dict): Settings of a GLSimClassifier.
        device (str): ``'cpu'`` or a CUDA device.
        threads (int): Threads of a pass on CPU.
    """

    def __init__(self, settings: dict, device: str, threads: int) -> None:
        self._passes = Passes(settings, device) if torch.device(device).type == 'cuda' else None
        self._task = (settings, threads)

    def __enter__(self) -> 'MemoryMeter':
        if self._passes is None:
            # Not the fork server of multiprocessing: before Python 3.13 it does not know this process's sys.path.
            context = multiprocessing.get_context('spawn')
            self._connection, remote = context.Pipe()
            self._server = context.Process(target=_serve, args=(remote, *self._task))
            self._server.start()
            remote.close()
        return self

    def __exit__(self, *error: object) -> None:
        if self._passes is None:
            self._connection.close()
            self._server.join()

    def measure(self, case: Case, image_size: int, batch_size: int) -> MemoryUse | None:
        """Peak memory of one pass.

        Args:
            case (Case): What to run.
            image_size (int): Side of the images in pixels.
            batch_size (int): Number of images.

        Returns:
            MemoryUse | None: None if memory did not suffice.

        Raises:
            RuntimeError: If the process that measures fails for another reason; it has printed a traceback.
        """
        if self._passes is not None:
            return _measure_on_cuda(self._passes, case, self._passes.images(image_size, batch_size))
        try:
            self._connection.send((case, image_size, batch_size))
            result = self._connection.recv()
        except (EOFError, BrokenPipeError) as error:
            raise RuntimeError('the process that measures memory has ended') from error
        if isinstance(result, str):
            raise RuntimeError(result)
        return result


def _serve(connection: Connection, settings: dict, threads: int) -> None:
    """Run one process per request until the other side closes."""
    import_mmpretrain()
    can_fork = 'fork' in multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context('fork' if can_fork else 'spawn')
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_measure_in_process, args=(sender, settings, threads, *request))
        process.start()
        sender.close()
        try:
            result = receiver.recv()
        except EOFError:
            result = None
        process.join()
        # A killed process, which has a negative code, is one that asked for too much memory.
        failed = process.exitcode is not None and process.exitcode > 0
        connection.send(f'measuring the memory of {request[0]} failed; see above' if failed else result)


def _measure_in_process(
    sender: Connection, settings: dict, threads: int, case: Case, image_size: int, batch_size: int
) -> None:
    import_mmpretrain()
    torch.set_num_threads(threads)
    passes = Passes(settings)
    # Thread pools and kernels' caches are made by a first pass and belong to no case.
    passes.run(case, passes.images(2 * max(passes.layout.patch_size), 1))
    pixels = passes.images(image_size, batch_size)
    before = _reset_peak()
    result = passes.run(case, pixels)
    peak = _peak_bytes() - before
    del result
    sender.send(MemoryUse(max(peak, 0), _count_matrices(passes, case, pixels)))


def _measure_on_cuda(passes: Passes, case: Case, pixels: Tensor) -> MemoryUse | None:
    try:
        passes.run(case, pixels)
        torch.cuda.reset_peak_memory_stats(passes.device)
        before = torch.cuda.memory_allocated(passes.device)
        passes.run(case, pixels)
        peak = torch.cuda.max_memory_allocated(passes.device) - before
        return MemoryUse(peak, _count_matrices(passes, case, pixels))
    except torch.cuda.OutOfMemoryError:
        return None


def _count_matrices(passes: Passes, case: Case, images: Tensor) -> int:
    height, width = images.shape[-2:]
    rows, cols = (-(-side // patch) for side, patch in zip((height, width), passes.layout.patch_size))
    with LiveMatrices(passes.layout.num_extra_tokens + rows * cols) as matrices:
        passes.run(case, images)
    return -(-matrices.most_numbers // (images.shape[0] * matrices.side**2))


class LiveMatrices(TorchDispatchMode):
    """Watches how many numbers the S x S tensors hold that are alive at the same time.

    Args:
        side (int): S.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        self.most_numbers = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: tuple = (), kwargs: dict | None = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        for output in outputs if isinstance(outputs, tuple | list) else (outputs,):
            if isinstance(output, Tensor) and output.shape[-2:] == (self.side, self.side):
                reference = StorageWeakRef(output.untyped_storage())
                self._alive[reference.cdata] = reference, output.untyped_storage().nbytes() // output.element_size()
        self._alive = {key: entry for key, entry in self._alive.items() if not entry[0].expired()}
        self.most_numbers = max(self.most_numbers, sum(numbers for _, numbers in self._alive.values()))
        return outputs


def _reset_peak() -> int:
    """Forget the largest resident set so far where the system can, and return where it stands, in bytes."""
    clear = Path('/proc/self/clear_refs')
    if clear.exists():
        clear.write_text('5')
    return _peak_bytes()


def _peak_bytes() -> int:
    """Largest resident set of this process."""
    status = Path('/proc/self/status')
    if status.exists():
        # getrusage would count the parent's memory from before exec.
        line = next(line for line in status.read_text().splitlines() if line.startswith('VmHWM'))
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else peak * 1024
