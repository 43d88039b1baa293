"""What Prometheus reads of a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)
_BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Measures:
    """Counters of one server, in a registry of its own."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.rows = Gauge('glsim_rows', 'Rows of a gallery', ['gallery'], registry=registry)
        self.requests = Counter(
            'glsim_requests', 'Requests by route and status', ['route', 'status'], registry=registry
        )
        self.rejects = Counter('glsim_rejects', 'Refused requests by kind of problem', ['kind'], registry=registry)
        self.waiting = Gauge('glsim_queue', 'Photos that wait for the model', registry=registry)
        self.batches = Histogram('glsim_batch_size', 'Photos per pass', buckets=_BATCHES, registry=registry)
        self.stages = Histogram(
            'glsim_stage_seconds', 'Time of a request by stage', ['stage'], buckets=_SECONDS, registry=registry
        )

    def read(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self.registry)


class Stopwatch:
    """Times of the stages of one request, which go into the measures too.

    Example:
        >>> with stopwatch.stage('read'):
        ...     content = read()
        >>> stopwatch.milliseconds
        {'read': 1.2}
    """

    def __init__(self, measures: Measures) -> None:
        self._measures = measures
        self._start = perf_counter()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; of one that comes several times, the sum counts."""
        start = perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + perf_counter() - start

    def finish(self) -> Mapping[str, float]:
        """Milliseconds by stage, and in ``'total'`` all since the request was taken."""
        self._seconds['total'] = perf_counter() - self._start
        for name, seconds in self._seconds.items():
            self._measures.stages.labels(name).observe(seconds)
        return {name: round(1000 * seconds, 2) for name, seconds in self._seconds.items()}
