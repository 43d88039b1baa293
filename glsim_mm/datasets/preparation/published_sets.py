"""The data sets of the paper and two classics, by name.

Checksums and sizes are those that the sets' authors publish, or else torchvision or TensorFlow Datasets, whose loaders
verify them; ``checksum_from`` says which. What is nowhere published is None.
"""

import difflib

from ...errors import GLSimError
from .descriptions import PublishedSet
from .manual_downloads import CARS, DAFB, MOE, NABIRDS, VEGFRU
from .public_downloads import AIRCRAFT, CUB, DOGS, FLOWERS, FOOD101, INAT17, PETS

PUBLISHED_SETS = {
    one.name: one for one in (CUB, DAFB, DOGS, FLOWERS, FOOD101, INAT17, MOE, NABIRDS, PETS, VEGFRU, AIRCRAFT, CARS)
}


def find_published_set(name: str) -> PublishedSet:
    """A data set by its short name.

    Args:
        name: For example ``'cub'``.

    Returns:
        What is known about its files.

    Raises:
        GLSimError: If there is none of that name.
    """
    if name not in PUBLISHED_SETS:
        similar = difflib.get_close_matches(name.lower(), PUBLISHED_SETS, 1)
        hint = f'did you mean {similar[0]}' if similar else f'known are {", ".join(PUBLISHED_SETS)}'
        raise GLSimError(f'there is no data set {name!r}; {hint}')
    return PUBLISHED_SETS[name]
