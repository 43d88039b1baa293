"""The exception for mistakes in the use of models, data and configs."""

from retrieval.errors import UserError


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
