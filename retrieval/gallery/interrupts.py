"""Ctrl-C that waits until what was computed is kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar('Item')


class Interrupts:
    """Says where inside :func:`postponed_interrupts` Ctrl-C takes effect at once."""

    def __init__(self) -> None:
        self._is_allowed = self._is_pending = False

    def allowed_in(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items; Ctrl-C is let through while one is awaited, and waits while one is dealt with."""
        iterator = iter(items)
        while True:
            self._is_allowed = True
            if self._is_pending:
                self._is_allowed = self._is_pending = False
                raise KeyboardInterrupt
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self._is_allowed = False
            yield item

    def _note(self) -> bool:
        """Take notice of a signal; whether it is to have its effect now."""
        now, self._is_allowed = self._is_allowed, False
        self._is_pending = not now
        return now


@contextmanager
def postponed_interrupts() -> Iterator[Interrupts]:
    """Let Ctrl-C wait until the end of the block, where half of it done is worse than a moment more.

    Inside another such block, and in threads other than the main one, to which Python never sends it, nothing changes.
    """
    interrupts = Interrupts()
    before: Any = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or not callable(before) or getattr(before, 'postpones', False):
        yield interrupts
        return

    def handle(number: int, frame: Any) -> None:
        if interrupts._note():
            before(number, frame)

    handle.postpones = True  # type: ignore[attr-defined]
    signal.signal(signal.SIGINT, handle)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)
        if interrupts._is_pending:
            before(signal.SIGINT, None)
