"""Which photos show one thing at one time, so that they belong into one split, and a split that keeps them together."""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np

from ..errors import GLSimError
from ..images.image_files import FileFacts
from ..images.perceptual_hash import near_groups
from ..images.photos import ImageItem

COLUMNS = ('observation', 'occurrence', 'specimen', 'individual', 'sequence', 'burst', 'event', 'group')
"""Columns of tables that name observations, alone or with ``id`` or ``uuid``, whatever the case."""

AUTO, NONE = 'auto', 'none'
BURST = 60.0
"""Seconds between two photos of a camera and class that count as one observation."""

MAX_NEAR = 20
"""Photos of a group that looks alike; more are no shots of one scene, but, for example, scans on one background."""


class Observations(NamedTuple):
    """Photos by observation.

    Attributes:
        groups: A number for each photo; photos of one observation have the same.
        sources: In words, what tells observations apart, with their number.
    """

    groups: list[int]
    sources: list[str]


def find_observations(
    items: Sequence[ImageItem], facts: Sequence[FileFacts], column: str = AUTO, folders: bool = True
) -> Observations:
    """Join photos that a column, a folder, a camera's clock or their looks put together.

    Args:
        items: Photos with labels; with ``taken`` and ``camera`` in their metadata, as
            :func:`~glsim_mm.search.exif_columns.fill_exif` fills them, where EXIF data is to count.
        facts: Of each photo, with digest and look.
        column: Of a table; ``'auto'`` takes the first that is called as one of :data:`COLUMNS`, ``'none'`` no column,
            folder and clock. Copies and near copies are always joined.
        folders: Whether folders below those of the classes count, where a class has several.

    Raises:
        GLSimError: If there is no such column.
    """
    keys: list[list[Hashable]] = [[('content', fact.digest)] for fact in facts]
    sources = []
    names = list(dict.fromkeys(name for item in items for name in item.metadata))
    if column not in (AUTO, NONE) and column not in names:
        raise GLSimError(f'there is no column {column!r} of observations; there are {", ".join(names) or "none"}')
    named = column if column in names else next(filter(_is_observation, names), '') if column == AUTO else ''
    if named:
        values = [item.metadata.get(named) for item in items]
        _add(keys, [None if value is None else (named, value) for value in values])
        sources.append(f'column {named}: {len(set(values) - {None}):,}')
    elif column == AUTO:
        inner = _inner_folders(items) if folders else {}
        if inner:
            _add(keys, [inner.get(position) for position in range(len(items))])
            sources.append(f'folders below those of the classes: {len(set(inner.values())):,}')
        bursts = _bursts(items)
        if bursts:
            _add(keys, [bursts.get(position) for position in range(len(items))])
            sources.append(f'photos of one camera within {BURST:.0f} s: {len(set(bursts.values())):,} series')
    alike = _near([fact.look for fact in facts])
    _add(keys, [alike.get(position) for position in range(len(items))])
    return Observations(join_by_keys(keys), sources)


def join_by_keys(keys: Sequence[Iterable[Hashable]]) -> list[int]:
    """Number groups of rows that share a key, directly or through others.

    >>> join_by_keys([['a'], ['b'], ['a', 'c'], ['c']])
    [0, 1, 0, 0]
    """
    parents = list(range(len(keys)))

    def top(row: int) -> int:
        while parents[row] != row:
            parents[row] = row = parents[parents[row]]
        return row

    first: dict[Hashable, int] = {}
    for row, own in enumerate(keys):
        for key in own:
            one, other = sorted((top(first.setdefault(key, row)), top(row)))
            parents[other] = one
    numbers: dict[int, int] = {}
    return [numbers.setdefault(top(row), len(numbers)) for row in range(len(keys))]


def hold_out(labels: Sequence[str], groups: Sequence[int], share: float, seed: int = 0) -> set[int]:
    """Positions of a part of the photos in which every class has nearly the same share, and no group is cut.

    A class of several groups has a photo at least there, and one at least outside. One of a single group stays outside.

    Args:
        labels: Class of each photo.
        groups: Observation of each.
        share: Part of the photos, from 0 to 1.
        seed: Another one chooses other groups.
    """
    photos_of = defaultdict(Counter)  # of each class, by group
    sizes_of: dict[str, dict[int, int]] = defaultdict(Counter)
    for label, group in zip(labels, groups):
        photos_of[group][label] += 1
        sizes_of[label][group] += 1
    outside = Counter(labels)
    held, decided = set[int](), set[int]()
    draw = random.Random(seed)

    def may_hold(group: int) -> bool:
        return all(outside[label] > count for label, count in photos_of[group].items())

    def hold(group: int) -> None:
        held.add(group)
        outside.subtract(photos_of[group])

    for label in sorted(sizes_of, key=lambda one: (len(sizes_of[one]), one)):  # those with least choice first
        sizes = sizes_of[label]
        wanted = max(1, round(share * sum(sizes.values()))) if len(sizes) > 1 and share > 0 else 0
        got = sum(size for group, size in sizes.items() if group in held)
        order = [group for group in sizes if group not in decided]
        draw.shuffle(order)
        for group in order:
            if abs(got + sizes[group] - wanted) < abs(got - wanted) and may_hold(group):
                hold(group)
                got += sizes[group]
        if wanted and not got:  # each is larger than twice the share
            smallest = min(filter(may_hold, sizes), key=sizes.__getitem__, default=None)
            if smallest is not None:
                hold(smallest)
        decided.update(sizes)
    return {position for position, group in enumerate(groups) if group in held}


def _add(keys: Sequence[list[Hashable]], more: Sequence[Hashable | None]) -> None:
    for own, key in zip(keys, more):
        if key is not None:
            own.append(key)


def _is_observation(name: str) -> bool:
    plain = re.sub(r'[^a-z]', '', name.lower())
    return any(plain in (one, f'{one}id', f'{one}uuid') for one in COLUMNS)


def _inner_folders(items: Sequence[ImageItem]) -> dict[int, tuple]:
    """Folder of each photo below that of its class, of classes that have several of them."""
    found: dict[int, tuple] = {}
    of_class = defaultdict(set)
    for position, item in enumerate(items):
        parts = item.path.split('/')
        start = parts.index(str(item.label)) + 1 if item.label in parts else len(parts)
        if len(parts) - start > 1:
            found[position] = ('folder', *parts[:-1])
            of_class[item.label].add(found[position])
    return {position: key for position, key in found.items() if len(of_class[items[position].label]) > 1}


def _bursts(items: Sequence[ImageItem]) -> dict[int, tuple]:
    """Series of two or more photos of one class and camera, each within :data:`BURST` of the one before."""
    taken = defaultdict(list)
    for position, item in enumerate(items):
        when = _as_time(item.metadata.get('taken'))
        if when is not None:
            taken[item.label, item.metadata.get('camera')].append((when, position))
    found = {}
    for whose, photos in taken.items():
        last, series = None, 0
        for when, position in sorted(photos):
            series += last is None or (when - last).total_seconds() > BURST
            last = when
            found[position] = ('burst', *whose, series)
    counts = Counter(found.values())
    return {position: key for position, key in found.items() if counts[key] > 1}


def _as_time(value: object) -> datetime | None:
    """A time as EXIF data or a gallery's column has it."""
    if isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(str(value)).replace(tzinfo=None) if value else None
    except ValueError:
        return None


def _near(looks: Sequence[np.ndarray | None]) -> dict[int, tuple]:
    """Groups of two or more photos that look alike, by position."""
    known = {position: look for position, look in enumerate(looks) if look is not None}
    groups = near_groups(np.array(list(known.values()), np.uint16).reshape(-1, 16)).tolist()
    counts = Counter(groups)
    return {position: ('near', group) for position, group in zip(known, groups) if 1 < counts[group] <= MAX_NEAR}
