"""Images that a gallery has twice: equal files, and embeddings that are almost equal; and what was decided on them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..answers import name_of, shown_paths
from ..errors import RetrievalError
from ..gallery.contract import GalleryReader
from ..gallery.spaces import Spaces
from ..records import Record, check_number
from ..vectors import unit_length
from .left_out import pair_scores

DECISION = 'duplicate_decision'
"""Column: what people have decided about groups that the row is part of, see :func:`decide_duplicates`."""

KEPT, DISTINCT = 'kept', 'distinct'
NEAR = 0.95  # cosine similarity; copies are never less alike
_BATCH, _BLOCK = 1024, 8192  # rows that are compared with so many others in one product
_KEPT_BYTES = 1 << 30  # of embeddings that are read once; larger ones are read again for each batch
_READ = 10_000
_SAMPLE, _THIRD, _NEARER = 1_000, 3, 4


@dataclass(frozen=True)
class DuplicateGroup:
    """Images that are the same, or nearly.

    Example:
        >>> for group in find_duplicates(gallery, threshold=0.98):
        ...     print(group.kind, [record.path for record in group.records])

    Attributes:
        kind: ``'equal'``: files with the same bytes; ``'similar'``: connected by similar embeddings.
        records: Two or more, by ascending id.
    """

    kind: str
    records: list[Record]


def find_duplicates(
    gallery: GalleryReader,
    threshold: float | None = None,
    *,
    space: str | None = None,
    where: Any = None,
    decided: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> list[DuplicateGroup]:
    """Groups of images that are in a gallery more than once.

    Equal files are found by their content hashes. Similar images are found by comparing each two rows, block by block:
    two rows whose similarity is above the threshold are connected, and a group is all that is connected, so its ends
    may be less alike than the threshold. Memory is the embeddings, or of many a part of them, and a block of scores.

    Args:
        gallery: Where to look.
        threshold: Least cosine similarity or inner product, or for ``'l2'`` largest squared distance, of similar
            images; None for equal files only.
        space: Embeddings to compare; None for the gallery's first.
        where: Filter; only rows that pass it are compared.
        decided: Whether groups are listed too about which people have decided (:func:`decide_duplicates`). Otherwise
            two rows that were decided about together are not connected with each other, but may be with others.
        progress: Called now and then with how many rows have been compared, and how many there are.

    Returns:
        Equal files first, each kind by first id. A group of similar images that are all equal files of each other is
        not listed again.
    """
    if threshold is not None:
        check_number(threshold, 'threshold')
    Spaces.of(gallery).space(space)
    ids = np.asarray(gallery.ids(where), np.int64)
    contents = _rows_of_contents(gallery, ids)
    known = {} if decided else read_decisions(gallery, where)
    groups = [
        ('equal', np.array(rows)) for rows in contents if len(rows) > 1 and not is_decided(known, ids[rows].tolist())
    ]
    if threshold is not None:
        numbers = np.full(len(ids), -1, np.int64)
        for number, rows in enumerate(contents):
            numbers[rows] = number
        groups += [
            ('similar', rows)
            for rows in _similar(gallery, ids, threshold, space, known, progress)
            if (numbers[rows] < 0).any() or len(np.unique(numbers[rows])) > 1
        ]
    return [DuplicateGroup(kind, gallery.records(ids[rows])) for kind, rows in groups]


def decide_duplicates(gallery: GalleryReader, ids: Sequence[int], decision: str) -> list[dict[str, str]]:
    """Values that let a gallery remember what was decided about a group, for its ``set_values``, one for each row.

    They are in the column :data:`DECISION`, so that the decision is part of the history, can be taken back, and goes
    where the rows go. A row that has been part of several groups has a word for each.

    Args:
        gallery: Where the rows are.
        ids: Of the rows of the group, two or more.
        decision: :data:`KEPT`, they are duplicates, and shall stay; or :data:`DISTINCT`, they are none.

    Raises:
        RetrievalError: If a row is not there, there are not two, or the decision is another one.
    """
    if decision not in (KEPT, DISTINCT) or len(set(ids)) < 2:
        raise RetrievalError(f'two rows or more are {KEPT} or {DISTINCT}, not {decision} for {len(set(ids))}')
    name = group_name(ids)
    before = [str(record.metadata.get(DECISION) or '').split() for record in gallery.records(ids)]
    return [
        {DECISION: ' '.join([*(word for word in words if word.partition('-')[2] != name), f'{decision}-{name}'])}
        for words in before
    ]


def group_name(ids: Sequence[int]) -> str:
    """What a group of rows is called, whatever their order."""
    return hashlib.sha256(','.join(map(str, sorted(ids))).encode()).hexdigest()[:12]


def read_decisions(gallery: GalleryReader, where: Any = None) -> dict[int, frozenset[str]]:
    """Words of the rows about which people have decided, by id; rows that were decided about together share one."""
    if DECISION not in gallery.columns():
        return {}
    ids, values = gallery.column(DECISION, where)
    return {row: frozenset(str(value).split()) for row, value in zip(ids.tolist(), values) if value is not None}


def is_decided(known: Mapping[int, frozenset[str]], ids: Sequence[int]) -> bool:
    """Whether people have decided about all of these rows together, by what :func:`read_decisions` has read."""
    return bool(frozenset.intersection(*(known.get(row, frozenset()) for row in ids)))


def near_threshold(gallery: GalleryReader, space: str | None = None, where: Any = None) -> float | None:
    """A threshold for :func:`find_duplicates` that tells copies from photos that are merely alike in this gallery.

    It is a quarter of the usual squared distance, which is the median of those of up to 1,000 rows (seed 0) to their
    third nearest row: copies may be there twice. Different photos of packages on a shelf have a cosine similarity of
    0.96 (grocery41), where a photo and its resized, recompressed or brightened copy have 0.99. A cosine similarity is
    at least 0.95. None where no row has three others, and for ``'ip'``, which has no distances.
    """
    ids = np.asarray(gallery.ids(where), np.int64)
    if gallery.manifest.metric == 'ip' or len(ids) <= _THIRD:
        return None
    some = np.sort(np.random.default_rng(0).permutation(ids)[:_SAMPLE])
    found = gallery.search(
        gallery.vectors(some, space),
        _THIRD,
        space=Spaces.of(gallery).space(space),
        where=where,
        exclude=some[:, None],
        transformed=True,
    )
    usual = float(np.median(found.scores[:, -1]))
    return usual / _NEARER if gallery.manifest.metric == 'l2' else max(1 - (1 - usual) / _NEARER, NEAR)


def _rows_of_contents(gallery: GalleryReader, ids: np.ndarray) -> list[list[int]]:
    """Rows of each content, by their first; rows without a content hash are left out."""
    found: dict[str, list[int]] = {}
    for start in range(0, len(ids), _READ):
        for row, record in enumerate(gallery.records(ids[start : start + _READ]), start):
            if record.content_hash is not None:
                found.setdefault(record.content_hash, []).append(row)
    return list(found.values())


def _similar(
    gallery: GalleryReader,
    ids: np.ndarray,
    threshold: float,
    space: str | None,
    known: dict[int, frozenset[str]],
    progress: Callable[[int, int], object] | None,
) -> list[np.ndarray]:
    """Rows of each connected group; ids ascend."""
    groups = Groups(len(ids))
    has_word = np.isin(ids, np.array(list(known), np.int64))
    for left, right in _close_pairs(gallery, ids, threshold, space, progress):
        is_open = np.ones(len(left), bool)
        for edge in np.flatnonzero(has_word[left] & has_word[right]).tolist():
            is_open[edge] = known[int(ids[left[edge]])].isdisjoint(known[int(ids[right[edge]])])
        groups.join(left[is_open], right[is_open])
    return groups.members()


def _close_pairs(
    gallery: GalleryReader,
    ids: np.ndarray,
    threshold: float,
    space: str | None,
    progress: Callable[[int, int], object] | None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places of rows that are above the threshold, int64 (e,) and (e,), each pair once, the smaller place first."""
    metric = gallery.manifest.metric
    kept: dict[int, np.ndarray] = {}

    def read(start: int) -> np.ndarray:
        """The block that begins there."""
        if start not in kept:
            rows = gallery.vectors(ids[start : start + _BLOCK], space)
            rows = unit_length(rows) if metric == 'cosine' else rows
            if rows.nbytes * len(ids) > _KEPT_BYTES * len(rows):
                return rows
            kept[start] = rows
        return kept[start]

    for first in range(0, len(ids), _BLOCK):
        own = read(first)
        for start in range(first, first + len(own), _BATCH):
            if progress is not None:
                progress(start, len(ids))
            batch = own[start - first : start - first + _BATCH]
            for other in range(first, len(ids), _BLOCK):
                scores = pair_scores(batch, read(other), metric)
                left, right = np.nonzero(scores < threshold if metric == 'l2' else scores > threshold)
                left, right = left + start, right + other
                is_later = right > left
                yield left[is_later], right[is_later]


class Groups:
    """Disjoint sets of the numbers 0 to n - 1, united by edges; memory is n int64 and a batch of edges."""

    def __init__(self, count: int) -> None:
        self._roots = np.arange(count)

    def join(self, left: np.ndarray, right: np.ndarray) -> None:
        """Unite the sets of ``left[i]`` and ``right[i]``, int64 (e,)."""
        left, right = self._find(left), self._find(right)
        while (apart := left != right).any():
            low, high = np.minimum(left, right)[apart], np.maximum(left, right)[apart]
            # Every root gets the smallest partner of this round; links lead downwards only, so there is no cycle.
            np.minimum.at(self._roots, high, low)
            left, right = self._find(low), self._find(high)

    def members(self) -> list[np.ndarray]:
        """Sets of two and more numbers, each ascending, ordered by their first."""
        roots = self._find(np.arange(len(self._roots)))
        order = np.argsort(roots, kind='stable')
        starts = np.flatnonzero(np.diff(roots[order], prepend=-1))
        return [group for group in np.split(order, starts[1:]) if len(group) > 1]

    def _find(self, numbers: np.ndarray) -> np.ndarray:
        """Root of each number; shortens the way for the next time."""
        roots = self._roots[numbers]
        while (further := self._roots[roots] != roots).any():
            roots[further] = self._roots[roots[further]]
        self._roots[numbers] = np.minimum(self._roots[numbers], roots)
        return roots


def format_duplicates(groups: Sequence[DuplicateGroup]) -> str:
    """Duplicates as text: for each group its kind, then id and path of each image; the last line counts."""
    blocks = [
        '\n'.join([f'{group.kind}:', *(f'  {record.id}  {name_of(record)}' for record in group.records)])
        for group in groups
    ]
    spare = sum(len(group.records) - 1 for group in groups if group.kind == 'equal')
    similar = sum(group.kind == 'similar' for group in groups)
    last = (
        f'{len(groups) - similar} groups of equal files with {spare} spare copies, {similar} groups of similar images'
    )
    return '\n'.join([*blocks, last])


def duplicates_to_json(groups: Sequence[DuplicateGroup]) -> list[dict[str, Any]]:
    """Duplicates in types that JSON knows: ``kind``, ``ids`` and ``paths`` of each group."""
    return [
        dict(
            kind=group.kind,
            ids=[int(record.id) for record in group.records],
            paths=shown_paths([record.path for record in group.records]),
        )
        for group in groups
    ]
