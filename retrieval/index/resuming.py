"""What is kept of an index while it is built, so that a build that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from ..errors import RetrievalError
from ..vectors import import_faiss
from .exact import read_block, release
from .faiss_calls import rows_of

LEAST_ROWS = 1_000_000  # smaller indexes are built again sooner than their rows are checked
SECONDS_BETWEEN = 120
_SHARE_OF_TIME = 0.05  # that writing may take
_BLOCK_ROWS = 65_536
_KEY_FILE = 'key.json'


class Unfinished:
    """A folder with the stages of an index that is being built. One of another key is emptied.

    Each stage appears whole or not at all, and replaces the earlier one of its name.
    """

    def __init__(self, folder: Path, key: dict[str, Any]) -> None:
        self.folder = folder
        self._saved = time.monotonic()
        self._pause = float(SECONDS_BETWEEN)
        path = folder / _KEY_FILE
        try:
            if path.is_file() and json.loads(path.read_text(encoding='utf-8')) == key:
                return
        except ValueError:
            pass  # the machine stopped while it was written
        self.remove()
        folder.mkdir(parents=True)
        path.write_text(json.dumps(key), encoding='utf-8')

    def path(self, name: str) -> Path:
        """Where a stage is or will be."""
        return self.folder / f'{name}.faiss'

    def read(self, name: str) -> Any:
        """A stage, in memory; None where it is not there."""
        return import_faiss().read_index(str(self.path(name))) if self.path(name).is_file() else None

    def save(self, name: str, index: Any) -> None:
        """Write a stage; RetrievalError where the disk is full."""
        start, partial = time.monotonic(), self.folder / 'partial'
        try:
            import_faiss().write_index(index, str(partial))
        except RuntimeError as error:
            raise RetrievalError(f'{self.path(name)} cannot be written; is the disk full?') from error
        os.replace(partial, self.path(name))
        self._saved = time.monotonic()
        self._pause = max(SECONDS_BETWEEN, (self._saved - start) / _SHARE_OF_TIME)

    def is_due(self) -> bool:
        """Whether the last stage is so old that another should be written."""
        return time.monotonic() - self._saved >= self._pause

    def remove(self) -> None:
        """Forget all stages."""
        shutil.rmtree(self.folder, ignore_errors=True)


def build_key(vectors: Any, **settings: Any) -> dict[str, Any]:
    """What must be the same for a build to go on: settings of the index, version of FAISS, and every row."""
    rows, digest = rows_of(vectors), hashlib.sha256()
    for start in range(0, len(rows), _BLOCK_ROWS):
        digest.update(read_block(vectors, start, start + _BLOCK_ROWS).data)
        release(vectors)
    return dict(settings, shape=list(rows.shape), rows=digest.hexdigest(), faiss=import_faiss().__version__)
