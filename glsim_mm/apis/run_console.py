"""The terminal during a training or test: answers and warnings; the log file has all that mmengine says besides."""

import io
import logging
import os
import re
import sys
import warnings
from contextlib import ExitStack, redirect_stdout, suppress
from types import TracebackType
from typing import Any

from mmengine.logging import MMLogger
from mmengine.runner import Runner

from ..engine.hooks.run_report import RunReportHook
from ..engine.hooks.training_progress import ProgressHook
from ..images.decoder_messages import errors_of_c_go_to

# Warnings that nobody who trains a model can do anything about.
_NOISE = re.compile(
    r'deprecat|is the alias of|is skipped since its requires_grad|prefix is not set in metric class|'
    r'`save_param_scheduler` is True but'
)
# Modules of this package whose notes are for the log: they come with every epoch.
_OF_EVERY_EPOCH = ('glsim_mm.engine.hooks.whole_checkpoints', 'glsim_mm.evaluation')


class RunConsole:
    """Shows a run to a person: what, data and device, a live bar, a line per epoch, warnings, the best checkpoint.

    It takes over the place of mmengine's handler that writes the log to standard output. The log file is not touched:
    it has the config, the environment, and everything that libraries say, warnings of Python and messages that
    libraries write in C included. What is not a terminal gets the lines alone::

        with RunConsole() as console:
            run_training(cfg, console)
    """

    def __init__(self) -> None:
        self._progress: ProgressHook | None = None
        self._training = False
        self._stack = ExitStack()
        self._out = sys.stdout

    def __enter__(self) -> 'RunConsole':
        self._out = sys.stdout
        self._take(MMLogger.get_current_instance())
        self._stack.enter_context(warnings.catch_warnings())
        warnings.showwarning = self._note_warning  # type: ignore[assignment] # the documented place to redirect them
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal to what comes next, such as the sentence of an error."""
        if self._progress is not None:
            self._progress.stop()
        self._stack.close()

    def runner_class(self, kind: type[Runner]) -> type[Runner]:
        """A class of runners whose log goes to this console from its first line on."""

        def build_logger(runner: Runner, *args: Any, **options: Any) -> MMLogger:
            logger = kind.build_logger(runner, *args, **options)
            self._take(logger)
            files = (one.stream for one in logger.handlers if isinstance(one, logging.FileHandler))
            if (file := next(files, None)) is not None:
                self._stack.enter_context(errors_of_c_go_to(file))
            return logger

        def load_checkpoint(runner: Runner, *args: Any, **options: Any) -> dict:
            # mmengine prints which file it reads, in each process
            with redirect_stdout(io.StringIO()) as printed:
                checkpoint = kind.load_checkpoint(runner, *args, **options)
            runner.logger.info(printed.getvalue().strip(), extra=dict(only_in_log=True))
            return checkpoint

        methods = dict(build_logger=build_logger, load_checkpoint=load_checkpoint)
        return type(kind.__name__, (kind,), {**methods, '__module__': kind.__module__})

    def watch(self, runner: Runner, training: bool) -> None:
        """Show what a runner does."""
        self._training = training
        runner.register_hook(RunReportHook(self.say))
        shown = [hook for hook in runner.hooks if isinstance(hook, ProgressHook)]
        if not shown and sys.stderr.isatty():
            shown = [ProgressHook(transient=True)]
            runner.register_hook(shown[0])
        self._progress = shown[0] if shown else None

    def say(self, text: str) -> None:
        """Write lines to standard output, above the bar if there is one; data workers may do it too."""
        bar = self._progress is not None and self._progress.live and self._out.isatty()
        with suppress(OSError):  # a training goes on where nobody reads it any more; the log file has it
            self._out.write(f'\r\033[2K{text}\n' if bar else f'{text}\n')  # the bar is drawn again in the next line
            self._out.flush()

    def is_for_people(self, record: logging.LogRecord) -> bool:
        """Whether a line of the log belongs on the terminal: all warnings but noise, and notes of this package."""
        if getattr(record, 'only_in_log', False):
            return False
        if record.levelno >= logging.WARNING:
            return not _NOISE.search(record.getMessage())
        caller = _caller()
        return caller.startswith('glsim_mm.') and not (self._training and caller.startswith(_OF_EVERY_EPOCH))

    def _take(self, logger: MMLogger) -> None:
        """Put this console in the place of the handlers of a logger that write to standard output, for now."""
        before = list(logger.handlers)
        standard = [handler for handler in before if type(handler) is logging.StreamHandler]
        if standard:
            mine = _ConsoleHandler(self, standard[0].level)
            mine.filters = list(standard[0].filters)
            logger.handlers[:] = [mine, *(handler for handler in before if handler not in standard)]
            self._stack.callback(logger.handlers.__setitem__, slice(None), before)

    def _note_warning(self, message: Warning | str, category: type[Warning], filename: str, *args: Any) -> None:
        """A warning of Python: to the log, and on the terminal if it is of this package."""
        ours = '/glsim_mm/' in filename.replace(os.sep, '/')
        text = f'{category.__name__}: {message} ({filename})'
        MMLogger.get_current_instance().warning('%s', text, extra=dict(only_in_log=not ours))


class _ConsoleHandler(logging.Handler):
    def __init__(self, console: RunConsole, level: int) -> None:
        super().__init__(level)
        self._console = console
        self.setFormatter(logging.Formatter('%(message)s'))

    def emit(self, record: logging.LogRecord) -> None:
        if self._console.is_for_people(record):
            label = f'{record.levelname.lower()}: ' if record.levelno >= logging.WARNING else ''
            self._console.say(label + self.format(record))


def _caller() -> str:
    """Name of the module that has logged what is being handled."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get('__name__', '')
        if name != __name__ and not name.startswith(('logging', 'mmengine.logging')):
            return name
        frame = frame.f_back
    return ''
