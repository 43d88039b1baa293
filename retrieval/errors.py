"""The exception for mistakes that a user of image search can mend."""


class RetrievalError(ValueError):
    """A user's mistake, told in one sentence that says how to mend it; command lines print it without a traceback."""
