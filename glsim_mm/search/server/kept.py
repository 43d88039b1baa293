"""What was computed from a state of a gallery, kept for as long as the gallery is in that state."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from retrieval.gallery import GalleryReader

Result = TypeVar('Result')
_MOST, _MOST_ROWS = 64, 2_000_000


class Kept:
    """A store of results by state and key, which threads share; what was not used for longest gives way.

    Example:
        >>> kept.get(state, ('order', 'year'), lambda: sort_rows(state, 'year'), len(state))
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._generation = -1
        self._found: OrderedDict[Hashable, _One] = OrderedDict()

    def get(self, state: GalleryReader, key: Hashable, make: Callable[[], Result], rows: int = 1) -> Result:
        """What ``make`` returns for a state; of threads that ask for the same at once, one makes it.

        ``rows`` says how much room it takes, in rows of a gallery; 64 results of 2,000,000 rows in all are kept.
        """
        generation = state.manifest.generation
        with self._lock:
            if generation > self._generation:
                self._found.clear()
                self._generation = generation
            if generation < self._generation:  # of a request that began before the gallery changed
                one = _One(rows)
            else:
                one = self._found.setdefault(key, _One(rows))
                self._found.move_to_end(key)
                while len(self._found) > 1 and (len(self._found) > _MOST or self._rows() > _MOST_ROWS):
                    self._found.popitem(last=False)
        with one.lock:
            if not one.is_made:
                one.value, one.is_made = make(), True
        return one.value

    def _rows(self) -> int:
        return sum(one.rows for one in self._found.values())


class _One:
    def __init__(self, rows: int) -> None:
        self.rows, self.lock, self.is_made = rows, threading.Lock(), False
        self.value: Any = None
