"""The lock that lets one process at a time write a gallery."""

from __future__ import annotations

import json
import os
import platform
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import RetrievalError

WRITER_FILE = 'writer.json'
LOCK_FILE = 'write.lock'


class WriteLock:
    """Held by the process that may change a gallery; the system frees it when the process ends, however it ends.

    RetrievalError if another process, or another object of this one, holds it. The notice that says who writes stays as
    long as the database needs its write-ahead log, also after a writer that was killed.
    """

    def __init__(self, root: Path) -> None:
        self._holder = root / WRITER_FILE
        self._lock = FileLock(str(root / LOCK_FILE))
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise RetrievalError(
                f'{root} is being written by {self._who()}: wait until it is done, or open the gallery for reading'
            ) from error
        except OSError as error:
            raise RetrievalError(f'{root} cannot be written ({error.strerror}): check who owns the folder') from error

    def announce(self) -> None:
        """Say who writes, once the write-ahead log is there."""
        now = datetime.now(timezone.utc).isoformat(timespec='seconds')
        facts = dict(process=os.getpid(), host=platform.node(), since=now)
        with suppress(OSError):  # a full disk must not keep anybody from removing rows
            self._holder.write_text(json.dumps(facts), encoding='utf-8')

    def withdraw(self) -> None:
        """Take the notice away: the write-ahead log holds nothing any more."""
        self._holder.unlink(missing_ok=True)

    def release(self) -> None:
        """Let others write."""
        self._lock.release()

    def _who(self) -> str:
        try:
            facts = json.loads(self._holder.read_text(encoding='utf-8'))
            return f'process {facts["process"]} on {facts["host"]} since {facts["since"]}'
        except (OSError, ValueError, KeyError, TypeError):
            return 'another process'
