"""Processes that a launcher has started, as ranks that encode together."""

from __future__ import annotations

import datetime
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from ..compat.distributed import set_rank_environment

_PATIENCE = datetime.timedelta(days=7)  # a rank that is done waits for the slowest one


class Ranks(NamedTuple):
    """This process, numbered from 0, among those that encode together."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which merges."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all ranks are here."""
        if self.size > 1:
            dist.barrier()

    def gather(self, part: Any) -> list[Any]:
        """Bring what each rank has, plain Python data, to rank 0: a list in their order, empty on other ranks."""
        if self.size == 1:
            return [part]
        parts: list[Any] | None = [None] * self.size if self.is_first else None
        dist.gather_object(part, parts)
        return parts or []


@contextmanager
def join_ranks(launcher: str) -> Iterator[Ranks]:
    """Take part in the process group that a launcher starts.

    The group talks over gloo, on GPU machines too: only names of files are exchanged.
    """
    if launcher == 'none':
        yield Ranks()
        return
    set_rank_environment(launcher)
    dist.init_process_group('gloo', timeout=_PATIENCE)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
        gc.collect()  # the group's threads end with the last reference to it


def own_device(launcher: str, device: str | None) -> str | None:
    """Device of this process: what the user asks for, else with a launcher its own GPU; None leaves it to the model."""
    if device is not None or launcher == 'none' or not torch.cuda.is_available():
        return device
    return f'cuda:{int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()}'
