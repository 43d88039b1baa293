"""How command lines end: with one line and exit code 2 for a user's mistake, with a traceback for a bug."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from retrieval.errors import UserError

EXIT_CODE = 2


@contextmanager
def report_user_errors() -> Iterator[None]:
    """Print a :class:`UserError` of the block as one line on stderr and exit with code 2.

    With the environment variable ``GLSIM_TRACEBACK=1`` the traceback is shown instead.

    Yields:
        Runs the block.
    """
    try:
        yield
    except UserError as error:
        if os.environ.get('GLSIM_TRACEBACK') == '1':
            raise
        sys.stderr.write(f'error: {message_of(error)}\n')
        sys.exit(EXIT_CODE)


def message_of(error: Exception) -> str:
    """The sentence of an error, also of one that a data loader's worker process raised and torch wrapped.

    Args:
        error: An error.

    Returns:
        One line.
    """
    text = str(error).strip()
    if text.startswith('Caught '):  # torch puts the worker's traceback into the message
        text = text.rpartition(f'{type(error).__name__}: ')[2]
    return ' '.join(text.split())
