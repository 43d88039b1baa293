"""Does reading photos keep the model waiting?"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from retrieval.errors import RetrievalError

from ..images.photos import ImageItem
from ..images.preparing import Batch
from ..search.encoder import Encoder

_MOST_BATCHES = 16


@dataclass
class Throughput:
    """Images per second of some rounds, each of the model alone and then of all of the work on the same images.

    Attributes:
        model: Speed of the model on batches that lie in memory, results fetched.
        encoding: Speed of :meth:`Encoder.stream`, from the first batch to the last.
        waiting: Share of that time, 0 to 1, in which no batch was ready for the model.
        processor: Processor time that this process, without its workers, took for an image of the model alone, divided
            by that for an image of encoding. Unlike the speeds, this and :attr:`waiting` tell something of a model on
            CPU while other programs want the processors too.
    """

    model: list[float] = field(default_factory=list)
    encoding: list[float] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Median over rounds of encoding / model."""
        return float(np.median(np.divide(self.encoding, self.model)))


def measure_throughput(
    encoder: Encoder, items: Sequence[ImageItem], batch_size: int = 32, num_workers: int = 2, rounds: int = 3
) -> Throughput:
    """Measure the model alone, and encoding from files, in turn.

    The photos have one shape after the test pipeline and fill at least three batches.
    """
    if len(items) < 3 * batch_size:
        raise RetrievalError(f'{len(items)} images are less than three batches of {batch_size}: give more')
    kept = range(min(len(items), _MOST_BATCHES * batch_size))
    batches = [batch for batch in encoder.load_batches(items, kept, batch_size, 0) if batch.inputs is not None]
    result = Throughput()
    for _ in range(rounds):
        repeats = max(1, round(len(items) / len(kept)))
        speed, _, alone = _measure(encoder, batches * repeats, items)
        result.model.append(speed)
        read = encoder.load_batches(items, None, batch_size, num_workers)
        speed, waiting, whole = _measure(encoder, read, items)
        result.encoding.append(speed)
        result.waiting.append(waiting)
        result.processor.append(alone / whole)
    return result


def format_throughput(result: Throughput) -> str:
    """A line per round, and the median ratio."""
    rounds = zip(result.model, result.encoding, result.waiting, result.processor)
    lines = [
        f'round {number}: model alone {model:.2f} images/s, encoding {encoding:.2f} images/s, '
        f'{100 * encoding / model:.1f} %; no batch ready {100 * waiting:.2f} % of the time, by processor time '
        f'{100 * processor:.1f} %'
        for number, (model, encoding, waiting, processor) in enumerate(rounds, start=1)
    ]
    return '\n'.join([*lines, f'median: {100 * result.ratio:.1f} % of the model alone'])


def _measure(encoder: Encoder, batches: Iterable[Batch], items: Sequence[ImageItem]) -> tuple[float, float, float]:
    """Images per second, share of the time spent on waiting, processor time of an image; the first batch apart."""
    waits: list[float] = []

    def timed() -> Iterator[Batch]:
        stream = iter(batches)
        while True:
            start = time.perf_counter()
            batch = next(stream, None)
            waits.append(time.perf_counter() - start)
            if batch is None:
                return
            yield batch

    counts, times, processor = [], [], []
    for encoded in encoder.run(timed(), items):
        counts.append(len(encoded))
        times.append(time.perf_counter())
        processor.append(time.process_time())
    seconds = times[-1] - times[0]
    # A result comes one batch after its images: the first two waits lie before the first result.
    count = sum(counts[1:])
    return count / seconds, sum(waits[2:]) / seconds, (processor[-1] - processor[0]) / count
