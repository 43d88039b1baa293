"""Errors that tell a user what to correct."""

_LONGEST = 2000


class UserError(Exception):
    """A mistake of the user; its message is one sentence that says what to do, shown without a traceback."""


class RetrievalError(UserError, ValueError):
    """A mistake in the use of indexes, galleries and searches; on one line, however the values in it print."""

    def __init__(self, message: object = '') -> None:
        text = ' '.join(str(message).splitlines())
        super().__init__(text if len(text) <= _LONGEST else f'{text[: _LONGEST // 2]}...{text[-_LONGEST // 2 :]}')
