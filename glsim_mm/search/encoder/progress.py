"""How far a long run is: a bar in a terminal, a line now and then in a log; on standard error."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

_SECONDS_BETWEEN_LINES = 30.0


class _Speed(ProgressColumn):
    """Images per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text('' if speed is None else f'{speed:.1f} images/s')


class ProgressBar:
    """Shows images done, images per second and the time that is left.

    Args:
        total: Number of images, if known.
        description: What is done.
        enable: False shows nothing.
        console: Where to draw. Defaults to standard error.
        seconds_between_lines: In a log. Defaults to 30.
    """

    def __init__(
        self,
        total: int | None,
        description: str,
        enable: bool = True,
        console: Console | None = None,
        seconds_between_lines: float = _SECONDS_BETWEEN_LINES,
    ) -> None:
        self._console = console or Console(stderr=True)
        self._total = total
        self._description = description
        self._done = 0
        self._enable = enable
        self._pause = seconds_between_lines
        columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn())
        draws = enable and self._console.is_terminal
        self._bar = Progress(
            *columns, console=self._console, redirect_stdout=False, redirect_stderr=False, disable=not draws
        )
        self._task = self._bar.add_task(description, total=total)

    def __enter__(self) -> 'ProgressBar':
        self._start = self._told = time.monotonic()
        self._bar.start()
        return self

    def advance(self, count: int) -> None:
        """Say that ``count`` more images are done."""
        self._done += count
        self._bar.advance(self._task, count)
        now = time.monotonic()
        if self._enable and not self._console.is_terminal and now - self._told >= self._pause:
            self._told = now
            self._write_line(now - self._start)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if self._enable and not self._console.is_terminal:
            self._write_line(time.monotonic() - self._start)

    def _write_line(self, seconds: float) -> None:
        speed = self._done / max(seconds, 1e-9)
        words = [f'{self._description}: {self._done:,}']
        if self._total is not None:
            left = (self._total - self._done) / speed if speed else 0.0
            words = [f'{words[0]} of {self._total:,} images', f'{speed:.1f} images/s', f'{left:.0f} s left']
        else:
            words = [f'{words[0]} images', f'{speed:.1f} images/s']
        self._console.print(', '.join(words), highlight=False, soft_wrap=True)
