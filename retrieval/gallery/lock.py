"""The lock that lets one process at a time write a gallery."""

from __future__ import annotations

import json
import os
import platform
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import RetrievalError

_LOCK_FILE, _HOLDER_FILE = 'write.lock', 'writer.json'


class WriteLock:
    """Held by the process that may change a gallery; the system frees it when the process ends, however it ends.

    RetrievalError if another process, or another object of this one, holds it.
    """

    def __init__(self, root: Path) -> None:
        self._holder = root / _HOLDER_FILE
        self._lock = FileLock(str(root / _LOCK_FILE))
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise RetrievalError(
                f'{root} is being written by {self._who()}: wait until it is done, or open the gallery for reading'
            ) from error
        except OSError as error:
            raise RetrievalError(f'{root} cannot be written ({error.strerror}): check who owns the folder') from error
        now = datetime.now(timezone.utc).isoformat(timespec='seconds')
        facts = dict(process=os.getpid(), host=platform.node(), since=now)
        self._holder.write_text(json.dumps(facts), encoding='utf-8')

    def release(self) -> None:
        """Let others write."""
        if self._lock.is_locked:
            self._holder.unlink(missing_ok=True)
            self._lock.release()

    def _who(self) -> str:
        try:
            facts = json.loads(self._holder.read_text(encoding='utf-8'))
            return f'process {facts["process"]} on {facts["host"]} since {facts["since"]}'
        except (OSError, ValueError, KeyError, TypeError):
            return 'another process'
