"""Columns of a gallery from the EXIF data of its photos."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from retrieval.errors import RetrievalError
from retrieval.recognition import Taken
from retrieval.records import Record

from ..images.exif import EXIF_COLUMNS, read_exif
from ..images.photos import ImageItem
from ..progress import ProgressBar, Show

_READ_AHEAD = 4096
_TYPES = {'taken': ('TEXT',), 'camera': ('TEXT',), 'latitude': ('REAL', 'INTEGER'), 'longitude': ('REAL', 'INTEGER')}


@dataclass
class ExifReport:
    """What the EXIF data of photos gave.

    Attributes:
        photos: Photos of which it was read.
        filled: How many got a value, by column.
        wrong: Values that are not possible and were dropped, in words, with the path of the photo.
        from_table: Columns that a table has, in which nothing was filled in.
    """

    photos: int = 0
    filled: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    from_table: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """All that in one line."""
        filled = [
            f'{column} of {self.filled.get(column, 0):,}' for column in EXIF_COLUMNS if column not in self.from_table
        ]
        parts = [f'{", ".join(filled) or "nothing"} of {self.photos:,} photos']
        if self.from_table:
            parts.append(f'{" and ".join(self.from_table)} as in the table')
        if self.wrong:
            parts.append(f'{len(self.wrong):,} impossible values dropped (such as {self.wrong[0]})')
        return '; '.join(parts)


def check_exif_columns(columns: Mapping[str, str]) -> None:
    """Refuse a gallery whose columns, with their types, cannot take what :func:`fill_exif` finds.

    Raises:
        RetrievalError: If one of another type has the name of one of :data:`~glsim_mm.images.exif.EXIF_COLUMNS`.
    """
    for name, kind in columns.items():
        if kind not in _TYPES.get(name.lower(), (kind,)):
            what = 'numbers' if kind != 'TEXT' else 'text'
            raise RetrievalError(f'the column {name} of the gallery holds {what}, into which EXIF data does not fit')


def fill_exif(
    items: Sequence[ImageItem],
    positions: Iterable[int],
    num_threads: int,
    progress: Show,
    rows: Mapping[int, Record] | None = None,
) -> ExifReport:
    """Fill ``taken``, ``camera``, ``latitude`` and ``longitude`` into the metadata of some photos, in place.

    What a table says comes first: a column that the metadata of any item has is left alone in all.

    Args:
        items: Photos that go into a gallery.
        positions: Those to read.
        num_threads: Threads that read files.
        progress: Show how many are read, on standard error.
        rows: Rows that the gallery has for photos, by position; a value that is there stays.
    """
    tables = {name.lower() for item in items for name in item.metadata}
    columns = [column for column in EXIF_COLUMNS if column not in tables]
    wanted = {position: _missing(columns, (rows or {}).get(position)) for position in positions}
    wanted = {position: empty for position, empty in wanted.items() if empty}
    report = ExifReport(len(wanted), from_table=[column for column in EXIF_COLUMNS if column in tables])
    order = list(wanted)
    with ThreadPoolExecutor(max(1, num_threads)) as pool, ProgressBar(len(order), 'reading EXIF', progress) as bar:
        for start in range(0, len(order), _READ_AHEAD):  # a thread pool would take all positions at once
            part = order[start : start + _READ_AHEAD]
            for position, found in zip(part, pool.map(lambda position: read_exif(items[position]), part)):
                item = items[position]
                values = {name: value for name, value in found.values.items() if name in wanted[position]}
                item.metadata = {**item.metadata, **values}
                for name in values:
                    report.filled[name] = report.filled.get(name, 0) + 1
                report.wrong += [f'{item.path}: {words}' for words in found.wrong]
                bar.advance()
    return report


def read_places(items: Sequence[ImageItem], num_threads: int = 4) -> list[str]:
    """Fill where and when photos were taken into their metadata, as :func:`fill_exif` does, for answers about them.

    Returns:
        What is impossible, in a table or in EXIF data, in words, with the path of the photo; it does not count.
    """
    wrong = fill_exif(items, range(len(items)), num_threads, False).wrong
    return wrong + [f'{item.path}: {words}' for item in items for words in Taken.of(item.metadata)[1]]


def _missing(columns: Collection[str], row: Record | None) -> list[str]:
    known = {} if row is None else {name.lower(): value for name, value in row.metadata.items()}
    return [column for column in columns if known.get(column) is None]
