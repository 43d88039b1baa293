"""A progress bar on standard error; standard output is for results."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .image_files import Progress as Report


@contextmanager
def progress_bar(description: str, enable: bool = True) -> Iterator[Report | None]:
    """A bar while the block runs.

    Args:
        description: A word or two.
        enable: Without it there is none.

    Yields:
        Call it with what is done and the total.
    """
    if not enable:
        yield None
        return
    columns = TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False, redirect_stderr=False) as bar:
        task = bar.add_task(description, total=None)

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield report
