"""A count that a data loader's worker processes share with the process that started them."""

import torch
from torch.utils.data import get_worker_info


class SharedCounter:
    """Counts events in all worker processes, forked or spawned.

    Every worker adds to a slot of its own, so no lock is needed; a copy keeps the count and goes on by itself.
    """

    _SLOTS = 1024

    def __init__(self) -> None:
        self._counts = torch.zeros(self._SLOTS, dtype=torch.int64).share_memory_()

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._counts.share_memory_()  # a plain copy's memory is private; that of a spawned worker is shared already

    def add_one(self) -> None:
        """Count one event."""
        worker = get_worker_info()
        self._counts[0 if worker is None else 1 + worker.id % (self._SLOTS - 1)] += 1

    @property
    def total(self) -> int:
        """Events so far in all processes."""
        return int(self._counts.sum())
