"""Exceptions for mistakes that a user can mend."""


class UserError(Exception):
    """A user's mistake, told in one sentence that says how to mend it; command lines print it without a traceback."""


class RetrievalError(UserError, ValueError):
    """A mistake in the use of indexes, galleries and searches."""
