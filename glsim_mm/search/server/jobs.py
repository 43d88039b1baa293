"""Running jobs: one at a time, in order, beside the requests; they can be watched, cancelled and resumed.

A kind of job is a function and what may be asked of it::

    def count(work: Work) -> Outcome:
        for done, row in enumerate(work.served.newest().ids()):
            work.report(done, total=len(work.served.newest()), message='Counting.')  # ends here where it is cancelled
        return Outcome('All rows were counted.', dict(rows=done))

    COUNT = JobKind('count', Body, count)

It becomes ``POST /jobs/count`` by one entry in ``routes_jobs.KINDS`` and one in ``roles.RULES``.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from retrieval.errors import UserError
from retrieval.gallery import GalleryWriter

from ...images.decoding import LOGGER
from ..base_encoder import BaseEncoder
from .batching import Batcher
from .galleries import ServedGallery
from .job_files import (
    CANCELLED,
    DONE,
    ENDED,
    FAILED,
    INTERRUPTED,
    RESUMABLE,
    RUNNING,
    STOPPED,
    WAITING,
    Job,
    JobFiles,
    time_now,
)
from .problems import Problem, hide_paths, too_busy
from .schemas_writing import Body
from .settings import Settings

_WAITING = 20  # jobs that may wait
_SECONDS_BETWEEN_FILES = 1.0
_SECONDS_BETWEEN_EVENTS = 0.2
_SECONDS_BETWEEN_SIGNS = 15.0  # of life, to those who watch
_SECONDS_TO_STOP = 10.0
_SECONDS_TO_LOOK = 1.0  # whether another process has ended its writing
_UNREADABLE = 1000  # that are listed


class Outcome(NamedTuple):
    """How a job has ended: a sentence, and what came out of it, as JSON."""

    message: str
    result: Mapping[str, Any] = {}


class JobStopped(Exception):
    """Raised in a job that was cancelled, or whose server is stopped."""


@dataclass(frozen=True)
class JobKind:
    """A kind of job.

    Attributes:
        name: Last part of its route.
        body: What may be asked; the fields are those of the request.
        run: Does it, in a thread of its own. What it has written before it is stopped, or killed, stays, and it goes on
            from there when it is called again.
        begin: Called with the gallery and what is asked before the request is answered, in a thread; may refuse it with
            a :class:`Problem`, and returns what is asked in the end.
        needs_asking: Whether there must be something asked.
    """

    name: str
    body: type[Body]
    run: Callable[[Work], Outcome]
    begin: Callable[[ServedGallery, Any], Any] = lambda served, asked: asked
    needs_asking: bool = False


class Work:
    """What a job works with.

    Attributes:
        served: The gallery.
        asked: What was asked for, of the kind's ``body``.
        by: Whom the history of the gallery names.
        created: When it was asked for, ISO 8601, UTC.
        folder: For what the job keeps; it stays as long as the job is known.
        settings: Limits of the server.
        is_resumed: Whether it was begun before.
    """

    def __init__(self, jobs: Jobs, job: Job, served: ServedGallery, asked: Any, is_resumed: bool) -> None:
        self.served, self.asked, self.by, self.is_resumed = served, asked, job.by, is_resumed
        self.settings, self.created = jobs.settings, job.created
        self.folder = jobs.folder_of(job)
        self._jobs, self._job = jobs, job

    def report(self, done: float, total: float | None = None, message: str = '') -> None:
        """Say how far it is; to be called often.

        Raises:
            JobStopped: If it shall not go on.
        """
        self.check()
        job = self._job
        job.done, job.total = int(done), job.total if total is None else int(total)
        job.message = message or job.message
        self._jobs.note(job)

    def check(self) -> None:
        """Raise :class:`JobStopped` if it shall not go on."""
        if self._jobs.is_stopped(self._job):
            raise JobStopped

    def tell(self, done: float, total: float | None, description: str) -> None:
        """:meth:`report` for a :class:`~glsim_mm.progress.ProgressBar`, which has two words about what is done."""
        self.report(done, total, f'{description[:1].upper()}{description[1:]}.')

    def refuse(self, name: str, reason: str) -> None:
        """Say that a photo cannot be used; a thousand of them are listed."""
        if len(self._job.unreadable) < _UNREADABLE:
            self._job.unreadable.append(dict(name=name, reason=hide_paths(reason)))

    @contextmanager
    def writing(self) -> Iterator[GalleryWriter]:
        """The gallery, open for writing for a moment; waits as long as another process writes to it.

        Raises:
            JobStopped: If it shall not go on meanwhile.
        """
        before = self._job.message
        with ExitStack() as stack:
            while True:
                try:
                    writer = stack.enter_context(self.served.writing())
                    break
                except Problem as problem:
                    if problem.kind != 'being-written':
                        raise
                    self._job.message = f'Waiting: {problem.detail}.'
                    self._jobs.note(self._job)
                    self._jobs.pause(_SECONDS_TO_LOOK)
                    self.check()
            self._job.message = before
            yield writer

    def encoder(self) -> BaseEncoder:
        """The gallery's model, which computes between the batches of those who search."""
        return self.served.encoder.called_by(self._jobs.batcher_of(self.served).compute)


class Jobs:
    """All jobs of a server.

    Args:
        kinds: What there is, by name.
        galleries: Those that are served.
        settings: Limits.
        state: Folder of what servers remember.
        batcher_of: The queue of a gallery's model.
    """

    def __init__(
        self,
        kinds: Sequence[JobKind],
        galleries: Mapping[str, ServedGallery],
        settings: Settings,
        state: Path,
        batcher_of: Callable[[ServedGallery], Batcher[Any, Any]],
    ) -> None:
        self.kinds = {one.name: one for one in kinds}
        self.settings, self.batcher_of = settings, batcher_of
        self._galleries = galleries
        self._files = {name: JobFiles(state, one.search.gallery.location) for name, one in galleries.items()}
        self._jobs: dict[str, Job] = {}
        self._order: deque[tuple[Job, bool]] = deque()
        self._lock = threading.RLock()
        self._arrived = threading.Condition(self._lock)
        self._stop = threading.Event()
        self._cancelled: set[str] = set()
        self._written: dict[str, float] = {}
        self._thread: threading.Thread | None = None
        self._watchers: set[asyncio.Event] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    # -- the server ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin; what a server was doing when it was stopped is interrupted."""
        self._loop = asyncio.get_running_loop()
        self._stop.clear()
        for name, files in self._files.items():
            if files.is_used:
                self._own(name)
        self._thread = threading.Thread(target=self._work, name='jobs', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Interrupt what is done now; waits some seconds for it."""
        self.end_watching()
        if self._thread is not None:
            self._thread.join(_SECONDS_TO_STOP)
        with self._lock:
            for job in self._jobs.values():
                if job.state in (WAITING, RUNNING):
                    self._end(job, INTERRUPTED, STOPPED)
            self._order.clear()
            for files in self._files.values():
                files.release()
            self._jobs.clear()

    def end_watching(self) -> None:
        """Let nobody watch any more, because the server ends, and stop what is done."""
        with self._arrived:
            self._stop.set()
            self._arrived.notify_all()
        self._wake()

    # -- requests ------------------------------------------------------------------------------------------------------

    def submit(self, kind: str, served: ServedGallery, asked: Body, by: str | None, photos: Any = None) -> Job:
        """Let a job wait for its turn.

        Args:
            kind: Of :attr:`kinds`.
            served: The gallery.
            asked: What is asked for.
            by: Whom the history names.
            photos: Called with the folder of the job, to put files there.

        Raises:
            Problem: If too many wait, another server runs the jobs, or the kind refuses it.
        """
        asked = self.kinds[kind].begin(served, asked)
        files = self._own(served.name)
        if files is None:
            raise Problem(
                409, 'jobs-elsewhere', f'another server on this machine runs the jobs of {served.name}: ask it'
            )
        self._check_room()
        job = Job.new(kind, served.name, asked.model_dump(mode='json'), by)
        if photos is not None:
            photos(files.folder_of(job.id))
        with self._arrived:
            self._jobs[job.id] = job
            files.write(job)
            self._order.append((job, False))
            self._arrived.notify_all()
            for old in {one.id for one in self._of(served.name)} - {
                one.id for one in files.prune(self._of(served.name))
            }:
                del self._jobs[old]
        return copy(job)

    def listed(self, gallery: str | None = None) -> list[Job]:
        """Jobs of one gallery or of all, the newest first."""
        found: list[Job] = []
        for name, files in self._files.items():
            if gallery in (None, name):
                with self._lock:
                    found += [copy(one) for one in (self._of(name) if files.is_owned else self._elsewhere(name))]
        return sorted(found, key=lambda one: one.id, reverse=True)

    def get(self, number: str) -> Job:
        """A job as it is now; Problem if there is none."""
        for one in self.listed():
            if one.id == number:
                return one
        raise Problem(404, 'no-such-job', 'there is no job of this number')

    def last(self, kind: str, served: ServedGallery) -> Job | None:
        """The last job of a kind that has done its work for a gallery."""
        return next((one for one in self.listed(served.name) if one.kind == kind and one.state == DONE), None)

    def folder_of(self, job: Job) -> Path:
        """Where a job keeps files."""
        return self._files[job.gallery].folder_of(job.id)

    def memory_of(self, served: ServedGallery) -> Path:
        """A folder for what is to be remembered of a gallery, beside its jobs; it may not be there yet."""
        return self._files[served.name].folder

    def cancel(self, number: str) -> Job:
        """Stop a job; what it has written stays. Problem if it has ended."""
        with self._arrived:
            job = self._own_job(number)
            if job.state in ENDED:
                raise Problem(409, 'job-ended', f'this job has ended: it is {job.state}')
            self._cancelled.add(job.id)
            if job.state == WAITING:
                self._order = deque(one for one in self._order if one[0] is not job)
                self._end(job, CANCELLED, 'Cancelled before it has begun.')
            return copy(job)

    def resume(self, number: str) -> Job:
        """Let a job go on that was interrupted, cancelled or has failed. Problem if it was not."""
        with self._arrived:
            job = self._own_job(number)
            if job.state not in RESUMABLE:
                raise Problem(409, 'not-resumable', f'only what has not been done can go on: this job is {job.state}')
            self._check_room()
            self._cancelled.discard(job.id)
            job.state, job.finished, job.message, job.unreadable = WAITING, None, '', []
            self._files[job.gallery].write(job)
            self._order.append((job, True))
            self._arrived.notify_all()
            return copy(job)

    async def watch(self, number: str) -> AsyncIterator[Job | None]:
        """A job as it is now, and after each change until it has ended; None now and then as a sign of life."""
        changed = asyncio.Event()
        self._watchers.add(changed)
        try:
            while True:
                changed.clear()
                job = await asyncio.to_thread(self.get, number)
                yield job
                if job.state in ENDED or self._stop.is_set():
                    return
                await asyncio.sleep(_SECONDS_BETWEEN_EVENTS)
                while True:
                    try:
                        await asyncio.wait_for(changed.wait(), _SECONDS_BETWEEN_SIGNS)
                        break
                    except asyncio.TimeoutError:
                        yield None
        finally:
            self._watchers.discard(changed)

    # -- jobs ----------------------------------------------------------------------------------------------------------

    def note(self, job: Job) -> None:
        """Tell those who watch that a job has changed, and keep that, now and then."""
        self._wake()
        now = time.monotonic()
        if now - self._written.get(job.id, 0.0) >= _SECONDS_BETWEEN_FILES:
            with self._lock:
                self._written[job.id] = now
                if job.state == RUNNING:
                    self._files[job.gallery].write(job)

    def is_stopped(self, job: Job) -> bool:
        """Whether a job shall not go on."""
        return self._stop.is_set() or job.id in self._cancelled or job.state != RUNNING

    def pause(self, seconds: float) -> None:
        """Wait, unless the server is stopped."""
        self._stop.wait(seconds)

    def _work(self) -> None:
        while True:
            with self._arrived:
                while not self._order and not self._stop.is_set():
                    self._arrived.wait()
                if self._stop.is_set():
                    return
                job, is_resumed = self._order.popleft()
                job.state, job.done, job.total, job.message = RUNNING, 0, 0, 'Beginning.'
                self._files[job.gallery].write(job)
            self._wake()
            self._run(job, is_resumed)

    def _run(self, job: Job, is_resumed: bool) -> None:
        kind, served = self.kinds[job.kind], self._galleries[job.gallery]
        state, message, result = FAILED, '', {}
        try:
            asked = kind.body.model_validate(job.asked)
            done = kind.run(Work(self, job, served, asked, is_resumed))
            state, message, result = DONE, done.message, dict(done.result)
        except JobStopped:
            is_cancelled = job.id in self._cancelled
            state, message = (CANCELLED, 'Cancelled; what was done stays.') if is_cancelled else (INTERRUPTED, STOPPED)
        except (UserError, Problem) as error:
            message = f'{hide_paths(str(error)).rstrip(".")}.'
        except Exception:  # noqa: BLE001  # whatever it is, the next job has its turn
            LOGGER.exception('the job %s of %s has failed', job.kind, job.gallery)
            message = 'This should not have happened; the log of the server says more.'
        with self._lock:
            if job.state == RUNNING:  # not after the server has given up waiting for it
                job.result = result
                self._end(job, state, message)

    def _end(self, job: Job, state: str, message: str) -> None:
        job.state, job.message, job.finished = state, message, time_now()
        if state == DONE:  # the last steps of a kind may tell no progress
            job.done = job.total = max(job.done, job.total)
        self._files[job.gallery].write(job)
        self._written.pop(job.id, None)
        self._wake()

    def _own(self, name: str) -> JobFiles | None:
        """The files of a gallery whose jobs this server runs; None if another one does."""
        with self._lock:
            files = self._files[name]
            if files.is_owned:
                return files
            if not files.own():
                return None
            for job in files.read():
                job.gallery = name
                self._jobs[job.id] = job
                if job.state in (WAITING, RUNNING):
                    self._end(job, INTERRUPTED, STOPPED)
            return files

    def _own_job(self, number: str) -> Job:
        job = self.get(number)
        if self._own(job.gallery) is None:
            raise Problem(409, 'jobs-elsewhere', 'another server on this machine runs this job: ask it')
        return self._jobs[number]

    def _of(self, name: str) -> list[Job]:
        return [one for one in self._jobs.values() if one.gallery == name]

    def _elsewhere(self, name: str) -> list[Job]:
        """Jobs that another server runs, or has run."""
        found = self._files[name].read()
        for job in found:
            job.gallery = name
        return found

    def _check_room(self) -> None:
        if len(self._order) >= _WAITING:
            raise too_busy(f'{len(self._order)} jobs wait already: try again later', 60)

    def _wake(self) -> None:
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        for one in list(self._watchers):
            loop.call_soon_threadsafe(one.set)
