"""What a gallery has to do to be what its folder is: rows and photos in, a plan out, without touching either."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

CONTRADICTIONS = ('keep', 'drop')


class GalleryRow(NamedTuple):
    """A row of a gallery, as far as a plan looks at it.

    Attributes:
        id: Its id.
        path: As the gallery has it.
        content_hash: Of the photo that was encoded; None if that is not known.
        label: Its class.
        folder_label: What the folder of its path says, whatever the label is.
        is_within: Whether it lies in the folders that are synced.
        is_gone: Of a row elsewhere, whether its file is no longer there.
        is_flagged: Whether it was flagged as missing.
        is_outdated: Whether a table says other things of its path than the row.
    """

    id: int
    path: str
    content_hash: str | None
    label: str | None = None
    folder_label: str | None = None
    is_within: bool = True
    is_gone: bool = False
    is_flagged: bool = False
    is_outdated: bool = False


class FoundPhoto(NamedTuple):
    """A photo on disk.

    Attributes:
        path: As a gallery would have it; each comes once.
        content_hash: None if it cannot be read now.
        label: Its class.
        is_folder_label: Whether its folder says so, rather than a table.
    """

    path: str
    content_hash: str | None
    label: str | None = None
    is_folder_label: bool = True


class RowAtPhoto(NamedTuple):
    """A row, the position of the photo that it belongs to, and the label that follows from both."""

    row: GalleryRow
    position: int
    label: str | None


class Contradiction(NamedTuple):
    """One content under several labels; ``labels`` has the paths of each."""

    content_hash: str
    labels: dict[str, list[str]]


@dataclass
class SyncPlan:
    """What is to be done; photos are given by their positions.

    Attributes:
        unchanged: Rows that are as their photos are.
        elsewhere: Rows that are not looked at, because they lie in other folders.
        moved: Rows whose content lies at another place now.
        described: Rows at their place that get another label or other metadata, or lose their flag.
        changed: Rows whose photo has another content now, to be encoded again.
        added: Photos to be encoded.
        shared: Photos that get a row of their own for their label, whose content is in the gallery or among ``added``.
        copies: Photos left out because a row of their label has their content.
        replaced: Rows whose path belongs to another content, which has a row; nothing is left of their photo.
        dropped: Rows of contradictions that are not to be kept.
        lost: Rows without a photo.
        contradictions: Contents in several classes.
    """

    unchanged: list[GalleryRow] = field(default_factory=list)
    elsewhere: int = 0
    moved: list[RowAtPhoto] = field(default_factory=list)
    described: list[RowAtPhoto] = field(default_factory=list)
    changed: list[RowAtPhoto] = field(default_factory=list)
    added: list[int] = field(default_factory=list)
    shared: list[int] = field(default_factory=list)
    copies: list[int] = field(default_factory=list)
    replaced: list[GalleryRow] = field(default_factory=list)
    dropped: list[GalleryRow] = field(default_factory=list)
    lost: list[GalleryRow] = field(default_factory=list)
    contradictions: list[Contradiction] = field(default_factory=list)


def plan_sync(rows: Iterable[GalleryRow], photos: Sequence[FoundPhoto], contradictions: str = 'keep') -> SyncPlan:
    """Match rows with photos: first by path and content, then by content, then by path.

    So a photo that moved keeps its row even where another photo took its place. Rows elsewhere stay as they are; but
    if their file is gone and the content is found here, they move here. Rows without a content hash are taken for
    unchanged as long as there is a file at their path. Planning again after the plan was carried out gives nothing to
    do.

    Args:
        rows: All rows of the gallery.
        photos: All photos of the folders; those that cannot be read keep their rows as they are.
        contradictions: ``'keep'`` a row for each label of one content, or ``'drop'`` all rows of such a content.
    """
    return _Planner(contradictions).plan(rows, photos)


def label_of_row(row: GalleryRow, photo: FoundPhoto) -> str | None:
    """The label that a row gets with a photo of its content.

    What a table says counts. What a folder says counts if the row has the label of its old folder, or came into the
    folder of another class; else somebody gave it its label, which stays.
    """
    if not photo.is_folder_label:
        return row.label if photo.label is None else photo.label
    if row.label is None or row.label == row.folder_label:
        return photo.label
    return row.label if photo.label in (None, row.folder_label) else photo.label


class _Planner:
    def __init__(self, contradictions: str) -> None:
        self._drops = contradictions == 'drop'
        self._result = SyncPlan()
        self._photos: Sequence[FoundPhoto] = []
        self._taken: set[int] = set()  # ids of rows whose fate is decided
        self._open: list[int] = []  # positions of photos that have no row yet
        self._held: set[int] = set()  # and of those at whose path there is a row of unknown content
        self._labels: dict[str, set[str | None]] = defaultdict(set)  # labels of the rows that each content has

    def plan(self, rows: Iterable[GalleryRow], photos: Sequence[FoundPhoto]) -> SyncPlan:
        self._photos = photos
        by_hash, by_path = self._sort_rows(rows)
        self._find_contradictions()
        positions: dict[str, list[int]] = defaultdict(list)
        doubled = {one.content_hash for one in self._result.contradictions} if self._drops else set()
        for position, photo in enumerate(photos):
            if photo.content_hash in doubled:
                continue
            there = by_path.get(photo.path, [])
            unknown = [row for row in there if photo.content_hash is None or row.content_hash is None]
            self._leave(unknown)
            if photo.content_hash is None:
                continue
            if not unknown or any(row.content_hash == photo.content_hash for row in there):
                positions[photo.content_hash].append(position)
            elif len(unknown) < len(there):
                self._held.add(position)
        for content_hash in doubled:
            for row in by_hash.pop(str(content_hash), []):
                if row.is_within and row.id not in self._taken:
                    self._taken.add(row.id)
                    self._result.dropped.append(row)
        for content_hash, places in positions.items():
            self._match_content(places, by_hash.get(content_hash, []))
        self._match_paths(by_path)
        self._add_rest()
        self._sort_out_rest(by_path)
        return self._result

    def _sort_rows(self, rows: Iterable[GalleryRow]) -> tuple[dict[str, list[GalleryRow]], dict[str, list[GalleryRow]]]:
        """Rows by content, those that a photo of the folders may take; and rows of the folders by path."""
        by_hash: dict[str, list[GalleryRow]] = defaultdict(list)
        by_path: dict[str, list[GalleryRow]] = defaultdict(list)
        for row in rows:
            if row.is_within:
                by_path[row.path].append(row)
            else:
                self._result.elsewhere += 1
            if row.content_hash is not None:
                if row.is_within or row.is_gone:
                    by_hash[row.content_hash].append(row)
                else:
                    self._labels[row.content_hash].add(row.label)
        return by_hash, by_path

    def _find_contradictions(self) -> None:
        places: dict[str, dict[str, list[str]]] = defaultdict(dict)
        for photo in self._photos:
            if photo.content_hash is not None and photo.label is not None:
                places[photo.content_hash].setdefault(photo.label, []).append(photo.path)
        for content_hash, labels in places.items():
            for label in self._labels.get(content_hash, ()):
                if label is not None:
                    labels.setdefault(label, [])
            if len(labels) > 1:
                self._result.contradictions.append(Contradiction(content_hash, labels))

    def _leave(self, rows: Iterable[GalleryRow]) -> None:
        for row in rows:
            self._taken.add(row.id)
            self._result.unchanged.append(row)
            if row.content_hash is not None:
                self._labels[row.content_hash].add(row.label)

    def _match_content(self, positions: list[int], rows: list[GalleryRow]) -> None:
        """Give the rows of one content to its photos; several rows of one path, such as objects in it, go together."""
        units: dict[str, list[GalleryRow]] = defaultdict(list)
        for row in rows:
            if row.id not in self._taken:
                units[row.path].append(row)
        left = []
        for position in positions:
            unit = units.pop(self._photos[position].path, None)
            if unit is None:
                left.append(position)
            else:
                self._take(unit, position)
        for is_within in (True, False):  # rows of the folders first
            free = [unit for unit in units.values() if unit[0].is_within == is_within]
            for key in (_label_and_name, _label, _name, _anything):
                left, free = self._pair(left, free, key)
        self._open += left

    def _pair(
        self, positions: list[int], units: list[list[GalleryRow]], key: Callable[[str, str | None], Hashable]
    ) -> tuple[list[int], list[list[GalleryRow]]]:
        """Pair photos and rows that have something in common; returns what is left of both."""
        if not positions or not units:
            return positions, units
        waiting: dict[Hashable, list[list[GalleryRow]]] = defaultdict(list)
        for unit in reversed(units):
            waiting[key(unit[0].path, unit[0].label)].append(unit)
        left = []
        for position in positions:
            found = waiting.get(key(self._photos[position].path, self._photos[position].label))
            if found:
                self._take(found.pop(), position)
            else:
                left.append(position)
        return left, [unit for unit in units if unit[0].id not in self._taken]

    def _take(self, unit: list[GalleryRow], position: int) -> None:
        """Decide about rows that have the content of a photo."""
        photo = self._photos[position]
        self._labels[str(photo.content_hash)].add(photo.label)
        for row in unit:
            self._taken.add(row.id)
            label = label_of_row(row, photo)
            if row.path != photo.path:
                self._result.moved.append(RowAtPhoto(row, position, label))
                self._result.elsewhere -= not row.is_within
            elif label != row.label or row.is_flagged or row.is_outdated:
                self._result.described.append(RowAtPhoto(row, position, label))
            else:
                self._result.unchanged.append(row)

    def _match_paths(self, by_path: dict[str, list[GalleryRow]]) -> None:
        """Give rows whose content is gone to the photo that lies at their path now."""
        left = []
        for position in [*self._open, *sorted(self._held)]:
            photo = self._photos[position]
            free = [row for row in by_path.get(photo.path, []) if row.id not in self._taken]
            if not free:
                if position not in self._held:
                    left.append(position)
                continue
            self._taken.add(free[0].id)
            self._labels[str(photo.content_hash)].add(photo.label)
            self._result.changed.append(RowAtPhoto(free[0], position, label_of_row(free[0], photo)))
        self._open = left

    def _add_rest(self) -> None:
        """Add one row for each content and label; photos without a label come last, as they add nothing to others."""
        for position in sorted(self._open, key=lambda one: self._photos[one].label is None):
            photo = self._photos[position]
            labels = self._labels[str(photo.content_hash)]
            if labels and (photo.label is None or photo.label in labels):
                self._result.copies.append(position)
                continue
            (self._result.shared if labels else self._result.added).append(position)
            labels.add(photo.label)
        self._result.added.sort()

    def _sort_out_rest(self, by_path: dict[str, list[GalleryRow]]) -> None:
        here = {photo.path for photo in self._photos if photo.content_hash is not None}
        for path, rows in by_path.items():
            left = [row for row in rows if row.id not in self._taken]
            (self._result.replaced if path in here else self._result.lost).extend(left)


def _label_and_name(path: str, label: str | None) -> Hashable:
    return label, posixpath.basename(path)


def _label(path: str, label: str | None) -> Hashable:
    return label


def _name(path: str, label: str | None) -> Hashable:
    return posixpath.basename(path)


def _anything(path: str, label: str | None) -> Hashable:
    return None
