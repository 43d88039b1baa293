"""The exception for mistakes that a user can mend."""


class GLSimError(Exception):
    """A user's mistake, told in one sentence that says how to mend it; command lines print it without a traceback."""
