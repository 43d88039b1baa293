"""What is kept of jobs, so that they are known after the server was stopped or killed: a small file for each."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from retrieval.gallery import is_folder

from ...images.decoding import LOGGER

WAITING, RUNNING, DONE, FAILED = 'waiting', 'running', 'done', 'failed'
CANCELLED, INTERRUPTED = 'cancelled', 'interrupted'
ENDED = (DONE, FAILED, CANCELLED, INTERRUPTED)
RESUMABLE = (FAILED, CANCELLED, INTERRUPTED)
STOPPED = 'The server was stopped before this was done.'
_KEPT = 100  # jobs of a gallery; the oldest that have ended give way
_FILE = 'job.json'
_PRIVATE = ('asked', 'by')


@dataclass
class Job:
    """Something long that a server does for a gallery.

    Attributes:
        id: Its name; a later one sorts behind.
        kind: What it does, as ``'add'``.
        gallery: What requests call the gallery.
        asked: What was asked for, as JSON.
        by: Whom the history of the gallery names; None for whoever runs the server.
        state: ``'waiting'``, ``'running'``, ``'done'``, ``'failed'``, ``'cancelled'`` or ``'interrupted'``.
        done: How much is done.
        total: How much there is to do; 0 if that is not known.
        message: A sentence about how it goes, or has ended.
        result: What came out of it, as JSON.
        unreadable: Names of photos that cannot be used, and why.
        created, finished: Date and time, ISO 8601, UTC.
    """

    id: str
    kind: str
    gallery: str
    asked: dict[str, Any] = field(default_factory=dict)
    by: str | None = None
    state: str = WAITING
    done: int = 0
    total: int = 0
    message: str = ''
    result: dict[str, Any] = field(default_factory=dict)
    unreadable: list[dict[str, str]] = field(default_factory=list)
    created: str = ''
    finished: str | None = None

    @classmethod
    def new(cls, kind: str, gallery: str, asked: dict[str, Any], by: str | None) -> Job:
        """One that has not begun."""
        now = datetime.now(timezone.utc)
        return cls(f'{now:%Y%m%d-%H%M%S-%f}-{secrets.token_hex(3)}', kind, gallery, asked, by, created=time_now())

    def shown(self) -> dict[str, Any]:
        """What others are told of it."""
        return {name: value for name, value in asdict(self).items() if name not in _PRIVATE}


def time_now() -> str:
    """Date and time, ISO 8601, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec='seconds')


def default_state() -> Path:
    """Folder of what servers remember: below ``$XDG_STATE_HOME``, by default ``~/.local/state``.

    See https://specifications.freedesktop.org/basedir-spec/latest/.
    """
    state = os.environ.get('XDG_STATE_HOME') or ''
    return (Path(state) if os.path.isabs(state) else Path.home() / '.local' / 'state') / 'glsim_mm' / 'serve'


class JobFiles:
    """The jobs of one gallery on disk: a folder for each, which holds ``job.json`` and whatever the job keeps there.

    One server at a time runs the jobs of a gallery (:meth:`own`); all others may look at them. The folder of a gallery
    is made when there is something to keep, and only the user who runs the server may look into it.

    Args:
        state: Folder of what servers remember.
        location: Of the gallery.
    """

    def __init__(self, state: Path, location: str) -> None:
        place = os.path.realpath(location) if is_folder(location) else location
        name = re.sub(r'[^\w.-]+', '_', place.rstrip('/').rpartition('/')[2])[:40]
        digest = hashlib.sha256(place.encode('utf-8', 'surrogateescape')).hexdigest()[:16]
        self.folder = state / f'{name}-{digest}'
        self._jobs = self.folder / 'jobs'
        self._lock = FileLock(str(self.folder / 'server.lock'), thread_local=False)

    def own(self) -> bool:
        """Become the server that runs the jobs of this gallery, until :meth:`release`; False if another one is it."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        for folder in (self.folder, self._jobs):
            folder.mkdir(mode=0o700, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    @property
    def is_owned(self) -> bool:
        """Whether this server runs the jobs of this gallery."""
        return self._lock.is_locked

    @property
    def is_used(self) -> bool:
        """Whether there was ever anything to keep."""
        return self._jobs.is_dir()

    def release(self) -> None:
        """Let another server run the jobs."""
        self._lock.release(force=True)

    def read(self) -> list[Job]:
        """All jobs, the oldest first; what another version has written, and cannot be read, is left out."""
        found = []
        names = {one.name for one in fields(Job)}
        for file in sorted(self._jobs.glob(f'*/{_FILE}')):
            try:
                values = json.loads(file.read_text(encoding='utf-8'))
                job = Job(**{name: value for name, value in values.items() if name in names})
            except (OSError, ValueError, TypeError, AttributeError) as error:
                LOGGER.debug('%s is left out: %s', file, error)
                continue
            if job.id == file.parent.name:
                found.append(job)
        return found

    def write(self, job: Job) -> None:
        """Keep a job as it is now, as a whole or not at all; also after a power failure."""
        folder = self.folder_of(job.id)
        with tempfile.NamedTemporaryFile('w', dir=folder, encoding='utf-8', suffix='.part', delete=False) as written:
            json.dump(asdict(job), written)
            written.flush()
            os.fsync(written.fileno())
        os.replace(written.name, folder / _FILE)

    def folder_of(self, number: str) -> Path:
        """The folder of a job, for what it keeps; made where it is not there."""
        folder = self._jobs / number
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def prune(self, jobs: list[Job]) -> list[Job]:
        """Forget the oldest jobs that have ended, where there are too many; returns those that stay."""
        ended = [one for one in sorted(jobs, key=lambda one: one.id) if one.state in ENDED]
        old = {one.id for one in ended[: max(0, len(jobs) - _KEPT)]}
        for number in old:
            shutil.rmtree(self._jobs / number, ignore_errors=True)
        return [one for one in jobs if one.id not in old]
