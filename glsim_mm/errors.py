"""The exception for mistakes that a user can mend."""


class GLSimError(Exception):
    """A user's mistake, told in one sentence that says how to mend it; command lines print it without a traceback."""


def one_line(error: Exception, max_length: int | None = None) -> str:
    """Message of an error on one line.

    Args:
        error: Any error.
        max_length: Characters to keep. Defaults to all.

    Returns:
        The message, white space folded.
    """
    return ' '.join(str(error).split())[:max_length]
