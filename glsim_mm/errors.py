"""Mistakes in the use of models, data and configs, and how command lines report them."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

try:
    from retrieval.errors import UserError
except ImportError as error:
    spec = find_spec('retrieval') if error.name in ('retrieval', 'retrieval.errors') else None
    if spec is None:
        raise
    place = spec.origin or next(iter(spec.submodule_search_locations or ['']))
    raise ImportError(
        f'{place.removesuffix("__init__.py")} is in the way: Python imports it in place of the package retrieval that '
        'belongs to glsim_mm; rename it, or start Python in another folder'
    ) from error


class GLSimError(UserError):
    """A mistake in the use of models, data sets, configs and checkpoints."""


def one_line(error: Exception, max_length: int | None = None) -> str:
    """Message of an error on one line.

    Args:
        error: Any error.
        max_length: Characters to keep. Defaults to all.

    Returns:
        The message, white space folded.
    """
    return ' '.join(str(error).split())[:max_length]


@contextmanager
def report_user_errors() -> Iterator[None]:
    """End a command line in one line on stderr and exit code 2 where the block raises a user's mistake.

    Mistakes are each :class:`UserError`, and packages that are missing. All other exceptions are bugs and keep their
    traceback, which ``GLSIM_TRACEBACK=1`` in the environment shows for mistakes too.
    """
    try:
        yield
    except (UserError, ImportError) as error:
        if os.environ.get('GLSIM_TRACEBACK') == '1':
            raise
        sys.stderr.write(f'error: {_message_of(error)}\n')
        sys.exit(2)


def _message_of(error: Exception) -> str:
    """The sentence of an error, also of one that a data loader's worker process raised and torch wrapped."""
    text = str(error).strip()
    if text.startswith('Caught '):  # torch puts the worker's traceback into the message
        text = text.rpartition(f'{type(error).__name__}: ')[2]
    if isinstance(error, ImportError) and error.name == 'cv2':
        text += (
            '; without the libraries of a desktop, run: pip install --force-reinstall --no-deps opencv-python-headless'
        )
    return ' '.join(text.split())
