"""What a writer notes in the collection's properties, so that an add that broke off is found and undone.

Milvus has no transactions: an add of many rows goes in several calls. Before the first, the writer notes a random
number that all its rows carry; after the last it removes the note. Whoever writes next and finds a note whose writer is
gone deletes the rows with that number: the gallery is then as it was before that add. Two writers that begin at once
are not kept apart by a lock, which Milvus does not have, but the one whose note was overwritten sees it before its next
call, takes its rows back and fails.
"""

import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from ..errors import RetrievalError
from .client import Collection

PENDING_KEY = 'gallery.pending'
LEASE_SECONDS = 60.0
BEAT_SECONDS = 10.0


@dataclass(frozen=True)
class Pending:
    """An add that has begun and not ended.

    Attributes:
        write_number: What its rows carry.
        host: Where the writer runs.
        process: Its process id.
        beat: When it was last seen alive, in seconds since 1970.
    """

    write_number: int
    host: str
    process: int
    beat: float

    def is_alive(self) -> bool:
        """Whether its writer may still be at work: seen within the last minute, and not known to be dead."""
        if abs(time.time() - self.beat) > LEASE_SECONDS:
            return False
        return self.host != socket.gethostname() or _process_exists(self.process)


def read_pending(properties: dict[str, str]) -> Pending | None:
    """The note in a collection's properties, if there is one."""
    text = properties.get(PENDING_KEY)
    return Pending(**json.loads(text)) if text else None


def undo_broken_add(collection: Collection, pending: Pending | None) -> bool:
    """Delete the rows of an add that broke off.

    Returns:
        Whether there was one.

    Raises:
        RetrievalError: If its writer may still be at work.
    """
    if pending is None:
        return False
    if pending.is_alive():
        raise RetrievalError(
            f'another writer (process {pending.process} on {pending.host}) is adding to {collection.location}: one may '
            f'write at a time; if it is gone, try again in {LEASE_SECONDS:.0f} seconds'
        )
    collection.delete(f'write_number == {pending.write_number}')
    collection.set_properties({PENDING_KEY: ''})
    return True


class Journal:
    """The note of one add, from its begin to its end.

    Args:
        collection: Where the rows go.
    """

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._pending = Pending(secrets.randbits(62), socket.gethostname(), os.getpid(), time.time())

    @property
    def write_number(self) -> int:
        """What every row of this add must carry."""
        return self._pending.write_number

    @contextmanager
    def writing(self, begin: dict[str, str], end: dict[str, str]) -> Iterator[None]:
        """Around all calls of an add; an exception inside takes back what was written.

        Args:
            begin: Properties set together with the note.
            end: Properties set together with its removal.
        """
        self._collection.set_properties({PENDING_KEY: json.dumps(asdict(self._pending)), **begin})
        try:
            self.check()
            yield
            self.check()
            self._collection.set_properties({PENDING_KEY: '', **end})
        except BaseException:
            self._collection.delete(f'write_number == {self.write_number}')
            self._clear()
            raise

    def check(self) -> None:
        """Before every call: is the note still there?

        Raises:
            RetrievalError: If another writer has taken over.
        """
        current = read_pending(self._collection.properties())
        if current is None or current.write_number != self.write_number:
            raise RetrievalError(
                f'another writer took over {self._collection.location}: what this add wrote is taken back, add it again'
            )
        if time.time() - self._pending.beat > BEAT_SECONDS:
            self._pending = Pending(**{**asdict(self._pending), 'beat': time.time()})
            self._collection.set_properties({PENDING_KEY: json.dumps(asdict(self._pending))})

    def _clear(self) -> None:
        """Remove the note, unless it is another writer's by now."""
        current = read_pending(self._collection.properties())
        if current is not None and current.write_number == self.write_number:
            self._collection.set_properties({PENDING_KEY: ''})


def _process_exists(process: int) -> bool:
    if os.name == 'nt':  # there, os.kill would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
