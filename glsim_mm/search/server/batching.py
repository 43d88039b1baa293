"""One model for many requests: what they ask for waits in a bounded queue and is computed in batches."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ...http_client import ServerAwayError
from .measures import Measures
from .problems import too_busy

Job = TypeVar('Job')
Answer = TypeVar('Answer')


@dataclass(eq=False)
class _Waiting(Generic[Job, Answer]):
    job: Job
    answer: asyncio.Future[Answer]


class Batcher(Generic[Job, Answer]):
    """Computes jobs in a thread of its own, several in one call where they come at about the same time.

    Where a call fails, each of its jobs is computed alone, so that one harms only itself, unless the server that runs
    the model is away. A job whose request was cancelled is left out.

    Args:
        compute: Gives an answer for each of some jobs.
        size: Most jobs in a call.
        patience: Seconds to wait for a batch to fill, from the first job on.
        limit: Jobs that may wait; more are refused.
        measures: Told of batches and of the queue.
        seconds: Time that a request has; where the last batch took so long that jobs which wait already fill it, more
            are refused, as they would be given up after that time.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Job]], Sequence[Answer]],
        size: int,
        patience: float,
        limit: int,
        measures: Measures,
        seconds: float = math.inf,
    ) -> None:
        self._answers_of, self._size, self._patience, self._limit = compute, size, patience, limit
        self._measures, self._seconds = measures, seconds
        self._begun, self._took = 0.0, 0.0  # when the last batch began, and how long that before took
        self._waiting: deque[_Waiting[Job, Answer]] = deque()
        self._taken: list[_Waiting[Job, Answer]] = []
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix='model')
        self._worker: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to compute."""
        self._worker = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Compute no more; what still waits, or is computed just now, is refused."""
        while self._worker is not None and not self._worker.done():
            self._worker.cancel()  # which wait_for swallows now and then, before Python 3.12
            await asyncio.wait([self._worker], timeout=1.0)
        for one in (*self._taken, *self._waiting):
            if not one.answer.done():
                one.answer.set_exception(too_busy('the server is being stopped'))
        self._waiting.clear()
        await asyncio.to_thread(self._thread.shutdown, wait=True, cancel_futures=True)

    async def submit(self, jobs: Sequence[Job]) -> list[Answer]:
        """Answers to jobs of one request, in order.

        Raises:
            Problem: If too many jobs wait already.
        """
        loop = asyncio.get_running_loop()
        if len(self._waiting) + len(jobs) > self._limit:
            raise too_busy(f'{len(self._waiting)} photos wait for the model: try again in a moment')
        if self._expected(len(jobs), loop.time()) > self._seconds:
            raise too_busy('the model is slow just now: try again in a while', min(60, math.ceil(self._took)))
        mine = [_Waiting(job, loop.create_future()) for job in jobs]
        self._waiting.extend(mine)
        self._measures.waiting.set(len(self._waiting))
        self._arrived.set()
        try:
            return list(await asyncio.gather(*(one.answer for one in mine)))
        finally:
            for one in mine:  # of a request that has ended before
                one.answer.cancel()
                with suppress(ValueError):
                    self._waiting.remove(one)
            self._measures.waiting.set(len(self._waiting))

    def _expected(self, count: int, now: float) -> float:
        """Seconds until so many further jobs would be computed, if each batch takes as long as the last."""
        if not self._taken and not self._waiting:
            return 0.0  # whatever the last one took: there must be a next one
        batches = math.ceil((len(self._waiting) + count) / self._size)
        return batches * self._took + (max(self._begun + self._took - now, 0.0) if self._taken else 0.0)

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call something else that takes the model, between two batches."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def compute(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call something that takes the model, between two batches, and wait for it: for threads of other work."""
        return self._thread.submit(function, *arguments).result()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            deadline = loop.time() + self._patience
            while len(self._waiting) < self._size and (left := deadline - loop.time()) > 0:
                self._arrived.clear()
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._arrived.wait(), left)
            self._taken = [self._waiting.popleft() for _ in range(min(self._size, len(self._waiting)))]
            if not self._waiting:
                self._arrived.clear()
            self._measures.waiting.set(len(self._waiting))
            batch = [one for one in self._taken if not one.answer.done()]
            self._begun = loop.time()
            if batch:
                await self._answer(batch)
                self._took = loop.time() - self._begun
            self._taken = []

    async def _answer(self, batch: Sequence[_Waiting[Job, Answer]]) -> None:
        self._measures.batches.observe(len(batch))
        computing = asyncio.ensure_future(self.call(self._compute, [one.job for one in batch]))
        await asyncio.wait([computing])
        error = computing.exception()
        if error is not None and len(batch) > 1 and not isinstance(error, ServerAwayError):
            for one in batch:
                if not one.answer.done():
                    await self._answer([one])
            return
        for position, one in enumerate(batch):
            if one.answer.done():
                continue
            if error is None:
                one.answer.set_result(computing.result()[position])
            else:
                one.answer.set_exception(error)

    def _compute(self, jobs: Sequence[Job]) -> Sequence[Answer]:
        """An answer for each job; anything else would leave a request without one, and all that follow."""
        answers = self._answers_of(jobs)
        if len(answers) != len(jobs):
            raise RuntimeError(f'{len(answers)} answers for {len(jobs)} jobs')
        return answers
