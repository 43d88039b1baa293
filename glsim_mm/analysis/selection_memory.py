"""Peak memory of a pass, measured: of the GPU's allocator, or of a process of its own on CPU."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from .peak_memory import MeasuringProcesses, peak_bytes, reset_peak
from .selection_cases import Case, Passes


class MemoryUse(NamedTuple):
    """Memory of one pass beyond model and images.

    Attributes:
        peak_bytes: Largest allocation at any time; on CPU the growth of the process's largest resident set.
        num_matrices: Largest number of S x S attention matrices alive at the same time, per image; every head of every
            layer has one.
    """

    peak_bytes: int
    num_matrices: int


class MemoryMeter:
    """Measures the peak memory of passes; use it as a context manager.

    On CPU each pass has a process of its own, see :class:`MeasuringProcesses`.

    Args:
        settings: Settings of a GLSimClassifier.
        device: ``'cpu'`` or a CUDA device.
        threads: Threads of a pass on CPU.
    """

    def __init__(self, settings: dict, device: str, threads: int) -> None:
        self._passes = Passes(settings, device) if torch.device(device).type == 'cuda' else None
        self._task = (settings, threads)

    def __enter__(self) -> 'MemoryMeter':
        if self._passes is None:
            self._processes = MeasuringProcesses().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._passes is None:
            self._processes.__exit__(*error)

    def measure(self, case: Case, image_size: int, batch_size: int) -> MemoryUse | None:
        """Peak memory of one pass.

        Args:
            case: What to run.
            image_size: Side of the images in pixels.
            batch_size: Number of images.

        Returns:
            None if memory did not suffice.

        Raises:
            RuntimeError: If the process that measures fails for another reason; it has printed a traceback.
        """
        if self._passes is not None:
            return _measure_on_cuda(self._passes, case, self._passes.images(image_size, batch_size))
        return self._processes.call(_measure_in_process, case, image_size, batch_size, *self._task)


def _measure_in_process(case: Case, image_size: int, batch_size: int, settings: dict, threads: int) -> MemoryUse:
    torch.set_num_threads(threads)
    passes = Passes(settings)
    # Thread pools and kernels' caches are made by a first pass and belong to no case.
    passes.run(case, passes.images(2 * max(passes.layout.patch_size), 1))
    pixels = passes.images(image_size, batch_size)
    before = reset_peak()
    result = passes.run(case, pixels)
    peak = peak_bytes() - before
    del result
    return MemoryUse(max(peak, 0), _count_matrices(passes, case, pixels))


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
        side: S.
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
