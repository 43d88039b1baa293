"""Errors that tell a user what to correct."""


class UserError(Exception):
    """A mistake of the user; its message is one sentence that says what to do, shown without a traceback."""


class RetrievalError(UserError, ValueError):
    """A mistake in the use of indexes, galleries and searches."""
