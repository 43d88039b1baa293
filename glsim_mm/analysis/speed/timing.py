"""Times that can be compared: all contenders in turns in one process, on the same inputs."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch


class Spread(NamedTuple):
    """A sample of numbers.

    Attributes:
        median: Half are smaller.
        low: A tenth are smaller.
        high: A tenth are larger.
    """

    median: float
    low: float
    high: float


def time_in_turns(
    contenders: Mapping[str, Callable[[], Any]], rounds: int, device: torch.device | str = 'cpu'
) -> dict[str, list[float]]:
    """Call every contender once a round, after one round that does not count.

    The order moves on by one each round, so that none always follows the same other one. What disturbs the machine
    disturbs all of them, which is why ratios within a round say more than times.

    Args:
        contenders: Functions without arguments, by name.
        rounds: Counted rounds, >= 1.
        device: Whose work is waited for. Defaults to the CPU.

    Returns:
        Seconds of each round, by name.
    """
    waits = torch.device(device).type == 'cuda'
    names = list(contenders)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            if waits:
                torch.cuda.synchronize(device)
            start = time.perf_counter()
            contenders[name]()
            if waits:
                torch.cuda.synchronize(device)
            if number:
                times[name].append(time.perf_counter() - start)
    return times


def spread(values: Sequence[float]) -> Spread:
    """Median and tenths of a sample."""
    low, high = np.quantile(values, [0.1, 0.9])
    return Spread(median(values), float(low), float(high))


def times_as_fast(seconds: Sequence[float], reference: Sequence[float]) -> Spread:
    """How many times as fast one contender is as another, round by round.

    Args:
        seconds: Of the contender.
        reference: Of the other one, in the same rounds.

    Returns:
        Of ``reference / seconds``; above 1 the contender is faster.
    """
    return spread([other / own for own, other in zip(seconds, reference)])


def measure_matmul_peak(
    dtype: torch.dtype = torch.float32, device: torch.device | str = 'cpu', rounds: int = 5
) -> float:
    """The most floating-point operations per second that matrix products reach here.

    Args:
        dtype: Of the matrices. Defaults to float32.
        device: Where to multiply. Defaults to the CPU.
        rounds: Repetitions of each size, of which the best counts.

    Returns:
        FLOP/s, a multiply-add counting as two.
    """
    best = 0.0
    for side in (512, 1024, 2048) if torch.device(device).type == 'cpu' else (2048, 4096, 8192):
        left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        ways = {'matmul': partial(torch.matmul, left, right)}
        if left.device.type == 'cpu' and torch.backends.mkldnn.is_available():
            # The library behind torch.matmul is not everywhere the fastest that torch has.
            ways['oneDNN'] = partial(torch.ops.mkldnn._linear_pointwise, left, right, None, 'none', [], '')
        times = time_in_turns(ways, rounds, device)
        best = max(best, 2 * side**3 / min(map(min, times.values())))
    return best
