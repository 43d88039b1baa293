"""The one progress bar: drawn in a terminal, a plain line now and then in a log, always on standard error."""

import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import TypeAlias

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

Show: TypeAlias = bool | Callable[[float, float | None, str], None]
"""Whether to show progress; or what is told of it: how much is done, how much there is, and what is done."""

_NOTE_WIDTH = 72  # of all that stands beside the bar of a training
_SAMPLE = 0.5  # seconds that a sample of the pace takes at least
_LOOK_BACK = 100  # samples
_STALL = 5  # times the median that a sample counts at most


def seconds_per_unit(samples: Sequence[tuple[float, float]]) -> float:
    """What a unit takes, from at least one sample of units and the seconds that they took.

    Where the machine stood still, a sample counts as at most five times the median, so that one stall does not
    multiply the time left.
    """
    limit = _STALL * statistics.median_low(seconds / units for units, seconds in samples)
    return sum(min(seconds, limit * units) for units, seconds in samples) / sum(units for units, _ in samples)


class Pace:
    """How long the rest of a run will take; it is told the time and reads no clock.

    What begins within the first ``warm_up`` units does not count: threads and workers start there, and a GPU chooses
    its kernels, so that the first figure would be many times the truth.

    Args:
        now: Seconds on some clock at which the run begins.
        done: Units that are done by then.
        warm_up: Units.
    """

    def __init__(self, now: float, done: float = 0, warm_up: float = 1) -> None:
        self._clock, self._done, self._first = now, done, done + warm_up
        self._units = self._seconds = 0.0
        self._samples: deque[tuple[float, float]] = deque(maxlen=_LOOK_BACK)

    def note(self, done: float, now: float) -> None:
        """Say how many units are done by now."""
        if self._done >= self._first:
            self._units += done - self._done
            self._seconds += now - self._clock
        self._clock, self._done = now, done
        if self._seconds >= _SAMPLE and self._units > 0:
            self._samples.append((self._units, self._seconds))
            self._units = self._seconds = 0.0

    def resume(self, now: float) -> None:
        """Say that a pause ends, which is no part of any unit."""
        self._clock = now

    def seconds_left(self, units: float) -> float | None:
        """Seconds that so many units will take; None as long as nothing is known."""
        if units <= 0:
            return 0.0
        return units * seconds_per_unit(self._samples) if self._samples else None


class ProgressBar:
    """Shows how much of a long run is done, how fast it goes and how long it will still take.

    Standard output stays free for results. In a terminal a bar is redrawn in place; elsewhere a line is written every
    ``seconds_between_lines``, and one at the end::

        with ProgressBar(len(paths), 'encoding') as bar:
            for path in paths:
                encode(path)
                bar.advance()

    Args:
        total: How much there is to do, None if that is not known.
        description: A word or two about what is done.
        enable: False shows nothing. A function is told in place of being shown; what it raises ends the work.
        unit: What is counted, in the plural.
        done: How much is done already, as in a resumed run. It does not count for the speed.
        console: Where to draw. Defaults to standard error.
        seconds_between_lines: Pause between two lines where there is no terminal.
        room_for_note: In a terminal, leave out the speed and shorten the bar, so that a note fits into 80 columns, and
            show no time left but that of :meth:`update`.
        transient: Remove the bar from the terminal when it stops.
    """

    def __init__(
        self,
        total: float | None,
        description: str,
        enable: Show = True,
        unit: str = 'images',
        done: float = 0,
        console: Console | None = None,
        seconds_between_lines: float = 30.0,
        room_for_note: bool = False,
        transient: bool = False,
    ) -> None:
        # Without force_terminal, FORCE_COLOR would make rich redraw its bar in a log file.
        self._console = console or Console(stderr=True, force_terminal=sys.stderr.isatty())
        self._tell = enable if callable(enable) else None
        self._enable = bool(enable) and self._tell is None
        self._unit = unit
        self._first, self._done, self._total = done, done, total
        self._pause = seconds_between_lines
        self._note = ''
        self._is_told = room_for_note
        self._seconds_left: float | None = None
        columns = [TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), _Speed(unit)]
        if room_for_note:
            width = min(40, max(4, self._console.width - _NOTE_WIDTH))
            columns = [TextColumn('{task.description}'), BarColumn(width), MofNCompleteColumn()]
        self._bar = Progress(
            *columns,
            TextColumn('{task.fields[note]}'),
            _TimeLeft(),
            console=self._console,
            transient=transient,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not (self._enable and self._console.is_terminal),
        )
        self._description = description
        self._task = self._bar.add_task(description, total=total, completed=done, note='', end=None)  # type: ignore[arg-type]

    def start(self) -> None:
        """Begin to draw and to measure the time; entering the ``with`` block calls it."""
        self._started = self._last_line = time.monotonic()
        self._pace = Pace(self._started, self._done)
        self._bar.start()

    def advance(self, count: float = 1) -> None:
        """Say that ``count`` more are done."""
        self.update(self._done + count)

    @property
    def live(self) -> bool:
        """Whether a bar stands in the last line of the terminal now."""
        return bool(self._bar.live.is_started and not self._console.is_dumb_terminal)

    def update(
        self, done: float, total: float | None = None, note: str = '', seconds_left: float | None = None
    ) -> None:
        """Say how many are done by now.

        Args:
            done: How many.
            total: How many there are, if that is known only now.
            note: Anything else worth knowing, shown behind the numbers.
            seconds_left: How long it will take, where the bar was made with ``room_for_note``.
        """
        now = time.monotonic()
        self._done, self._note = done, note or self._note
        self._total = self._total if total is None else total
        self._pace.note(done, now)
        if not self._is_told:
            seconds_left = None if self._total is None else self._pace.seconds_left(self._total - done)
        self._seconds_left = seconds_left
        if self._tell is not None:
            self._tell(done, self._total, self._description)
        end = None if seconds_left is None else now + seconds_left
        self._bar.update(self._task, completed=done, total=self._total, note=self._note, end=end)
        if now - self._last_line >= self._pause:
            self._write_line()

    def stop(self) -> None:
        """Leave the bar as it is, or write the last line."""
        self._bar.stop()
        if self._total is not None or self._done > self._first:
            self._write_line()
        self._enable = False

    def __enter__(self) -> 'ProgressBar':
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._enable = self._enable and (kind is None or self._done > self._first)  # an error stands alone
        self.stop()

    def _write_line(self) -> None:
        if not self._enable or self._console.is_terminal:
            return
        self._last_line = time.monotonic()
        speed = (self._done - self._first) / max(self._last_line - self._started, 1e-9)
        of_total = '' if self._total is None else f' of {self._total:,.0f}'
        parts = [f'{self._description}: {self._done:,.0f}{of_total} {self._unit}', f'{speed:.1f} {self._unit}/s']
        if self._note:
            parts.append(self._note)
        if self._seconds_left is not None:
            parts.append(f'{self._seconds_left:.0f} s left')
        self._console.print(', '.join(parts), highlight=False, markup=False, soft_wrap=True)


class _TimeLeft(ProgressColumn):
    """The time until the end that was last reckoned, counted down by the second."""

    def render(self, task: Task) -> Text:
        end = task.fields['end']
        left = '-:--:--' if end is None else str(timedelta(seconds=max(0, round(end - time.monotonic()))))
        return Text(left, 'progress.remaining')


class _Speed(ProgressColumn):
    """Units per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text('' if speed is None else f'{speed:.1f} {self._unit}/s')
