"""Where a gallery is built, and how it takes its place once it is whole."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retrieval.errors import RetrievalError
from retrieval.gallery import is_folder
from retrieval.gallery.lock import WriteLock

_GALLERY_FILE = 'gallery.sqlite'
_MERGED, _REPLACED = 'merged', 'replaced'


class BuildFolder:
    """The folder beside a gallery in which it is built: shards, then the merged gallery, then nothing.

    A gallery that is to be replaced stays where it is until the new one is whole.

    Args:
        location: Of the gallery: a folder, or an address such as ``milvus://...``.
    """

    def __init__(self, location: str | Path) -> None:
        self.is_remote = not is_folder(location)
        self.target = str(location)
        name = re.sub(r'[^A-Za-z0-9_.-]+', '_', self.target) if self.is_remote else self.target.rstrip('/' + os.sep)
        self.path = Path(f'{name}.parts')

    @property
    def merged(self) -> Path:
        """Where shards are merged."""
        return self.path / _MERGED

    @contextmanager
    def hold(self, overwrite: bool) -> Iterator[None]:
        """Keep the folder for one build at a time; it stays afterwards if it holds embeddings to go on with.

        Args:
            overwrite: Replace a gallery that is there.

        Yields:
            Runs the block.

        Raises:
            RetrievalError: If there is a gallery and it shall not be replaced, something that is none, or another build
                in this place.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RetrievalError(f'{self.path} cannot be made ({error.strerror}); choose another place') from error
        lock = WriteLock(self.path)
        try:
            self._restore()
            if not self.is_remote:
                self._check_target(overwrite)
            shutil.rmtree(self.merged, ignore_errors=True)  # of a run that ended while it merged
            yield
        finally:
            lock.release()
            if not any(self.path.glob('shard-*')):
                shutil.rmtree(self.path)

    def finish(self) -> None:
        """Put the merged gallery in its place and remove the shards."""
        if not self.is_remote:
            target = Path(self.target)
            if target.exists():
                os.replace(target, self.path / _REPLACED)
            os.replace(self.merged, target)
        for shard in self.path.glob('shard-*'):
            shutil.rmtree(shard)

    def _restore(self) -> None:
        """Undo a replacement that was killed between its two steps."""
        replaced = self.path / _REPLACED
        if replaced.exists() and not self.is_remote:
            if Path(self.target).exists():
                shutil.rmtree(replaced)
            else:
                os.replace(replaced, self.target)

    def _check_target(self, overwrite: bool) -> None:
        target = Path(self.target)
        if not target.exists() or (target.is_dir() and not any(target.iterdir())):
            return
        if not (target / _GALLERY_FILE).exists():
            raise RetrievalError(f'{target} exists and is no gallery: choose another place for the gallery')
        if not overwrite:
            raise RetrievalError(
                f'{target} is a gallery already: add images to it with tools/retrieval/add.py, replace it with '
                '--overwrite (overwrite=True), or choose another place'
            )
