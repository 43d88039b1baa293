"""A user's mistakes, whoever finds them."""

from collections.abc import Iterator
from contextlib import contextmanager

from glsim_mm.errors import GLSimError
from retrieval.errors import RetrievalError


@contextmanager
def as_retrieval_errors() -> Iterator[None]:
    """Raise what glsim_mm calls a user's mistake as one of image search.

    Yields:
        Runs the block.

    Raises:
        RetrievalError: In place of a :class:`GLSimError`.
    """
    try:
        yield
    except GLSimError as error:
        raise RetrievalError(str(error)) from error
