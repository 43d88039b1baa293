"""The published data sets by name; each is described beside its reader."""

import difflib

from ..errors import GLSimError
from . import authors_list_sets, cub_format, matlab_sets, text_list_sets
from .fine_grained import PublishedSet

_FOUND = [
    value
    for module in (authors_list_sets, cub_format, matlab_sets, text_list_sets)
    for value in vars(module).values()
    if isinstance(value, PublishedSet)
]
PUBLISHED_SETS = {one.name: one for one in sorted(_FOUND, key=lambda one: one.name)}


def find_published_set(name: str) -> PublishedSet:
    """Look up the description of a data set by its short name, for example ``'cub'``."""
    if name not in PUBLISHED_SETS:
        similar = difflib.get_close_matches(name.lower(), PUBLISHED_SETS, 1)
        hint = f'did you mean {similar[0]}' if similar else f'known are {", ".join(PUBLISHED_SETS)}'
        raise GLSimError(f'there is no data set {name!r}; {hint}')
    return PUBLISHED_SETS[name]
