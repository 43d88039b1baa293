"""The one progress bar: drawn in a terminal, a plain line now and then in a log, always on standard error."""

import sys
import time
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

_NOTE_WIDTH = 72  # of all that stands beside the bar of a training


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
        enable: False shows nothing.
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
        enable: bool = True,
        unit: str = 'images',
        done: float = 0,
        console: Console | None = None,
        seconds_between_lines: float = 30.0,
        room_for_note: bool = False,
        transient: bool = False,
    ) -> None:
        # Without force_terminal, FORCE_COLOR would make rich redraw its bar in a log file.
        self._console = console or Console(stderr=True, force_terminal=sys.stderr.isatty())
        self._enable = enable
        self._unit = unit
        self._first, self._done, self._total = done, done, total
        self._pause = seconds_between_lines
        self._note = ''
        self._seconds_left: float | None = None
        columns = [TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), _Speed(unit)]
        if room_for_note:
            width = min(40, max(4, self._console.width - _NOTE_WIDTH))
            columns = [TextColumn('{task.description}'), BarColumn(width), MofNCompleteColumn()]
        self._bar = Progress(
            *columns,
            TextColumn('{task.fields[note]}'),
            _TimeLeft(told=room_for_note),
            console=self._console,
            transient=transient,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not (enable and self._console.is_terminal),
        )
        self._description = description
        self._task = self._bar.add_task(description, total=total, completed=done, note='', left=None)  # type: ignore[arg-type]

    def start(self) -> None:
        """Begin to draw and to measure the time; entering the ``with`` block calls it."""
        self._started = self._last_line = time.monotonic()
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
            seconds_left: How long it will take, for who knows better than the speed of the last seconds.
        """
        self._done, self._note, self._seconds_left = done, note or self._note, seconds_left
        self._total = self._total if total is None else total
        self._bar.update(self._task, completed=done, total=self._total, note=self._note, left=seconds_left)
        if time.monotonic() - self._last_line >= self._pause:
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
        elif self._total is not None and speed:
            parts.append(f'{(self._total - self._done) / speed:.0f} s left')
        self._console.print(', '.join(parts), highlight=False, markup=False, soft_wrap=True)


class _TimeLeft(TimeRemainingColumn):
    """The time left that was told, else that of the speed of the last seconds, unless it will be told."""

    def __init__(self, told: bool) -> None:
        super().__init__()
        self._told = told

    def render(self, task: Task) -> Text:
        left = task.fields['left']
        if left is None and not self._told:
            return super().render(task)
        return Text('-:--:--' if left is None else str(timedelta(seconds=round(left))), 'progress.remaining')


class _Speed(ProgressColumn):
    """Units per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text('' if speed is None else f'{speed:.1f} {self._unit}/s')
