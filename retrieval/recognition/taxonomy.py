"""Which groups each class belongs to: species, genus, family and the like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import RetrievalError
from ..gallery.contract import GalleryReader
from ..records import Record
from ..text_tables import parse_table


class Taxonomy:
    """A tree above the classes.

    A group is known by its whole way from the top, so that groups of one name in different branches are different.

    Example:
        >>> Taxonomy({'Wren': ['birds', 'songbirds']}).group('Wren', 1)
        ('birds', 'songbirds')

    Args:
        ancestors: Groups of each class, the coarsest first, without a root that all share, as in the metainfo of the
            project's data sets. Classes may differ in depth; a class that is not in here has no groups.
    """

    def __init__(self, ancestors: Mapping[str, Sequence[str]]) -> None:
        self._ancestors = {label: tuple(groups) for label, groups in ancestors.items()}

    @classmethod
    def from_csv(cls, path: str | Path) -> Taxonomy:
        """Read a table with a header and a line for each class: the class, its parent, its grandparent and so on.

        Empty cells at the end of a line are levels that the class does not have. RetrievalError if the file cannot be
        read, a line has no class or a gap, or a class occurs twice.
        """
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise RetrievalError(f'taxonomy {path} cannot be read: {error}') from error
        ancestors: dict[str, tuple[str, ...]] = {}
        for number, row in parse_table(content, f'taxonomy {path}').rows:
            while row and not row[-1]:
                row.pop()
            if not all(row):
                raise RetrievalError(f'taxonomy {path}, line {number}: a cell before the last is empty; fill it in')
            if row[0] in ancestors:
                raise RetrievalError(f'taxonomy {path}, line {number}: {row[0]!r} occurs twice; keep one line')
            ancestors[row[0]] = tuple(reversed(row[1:]))
        if not ancestors:
            raise RetrievalError(f'taxonomy {path} has no line below its header: write class, parent, grandparent')
        return cls(ancestors)

    @classmethod
    def from_records(cls, records: Iterable[Record], columns: Sequence[str]) -> Taxonomy:
        """Read the tree from metadata columns of a gallery's rows, from the parent up, as ``['genus', 'family']``.

        For a class it ends at the first column without a value. Rows without a label count for nothing. RetrievalError
        if rows of one class differ in a column.
        """
        ancestors: dict[str, tuple[str, ...]] = {}
        for record in records:
            if record.label is None:
                continue
            values = [record.metadata.get(column) for column in columns]
            depth = values.index(None) if None in values else len(values)
            groups = tuple(str(value) for value in reversed(values[:depth]))
            if ancestors.setdefault(record.label, groups) != groups:
                raise RetrievalError(
                    f'rows of class {record.label!r} differ in {", ".join(columns)}: {ancestors[record.label]} and '
                    f'{groups}; give each class one parent'
                )
        return cls(ancestors)

    @property
    def depth(self) -> int:
        """Levels above the classes, of the deepest branch."""
        return max((len(groups) for groups in self._ancestors.values()), default=0)

    def ancestors(self, label: str) -> tuple[str, ...]:
        """Groups of a class, the coarsest first; none for a class that is not in the tree."""
        return self._ancestors.get(label, ())

    def group(self, label: str, level: int) -> tuple[str, ...] | None:
        """The whole way from the top to what a class belongs to ``level`` steps up; None if it has no such level."""
        path = (*self.ancestors(label), label)
        return path[: len(path) - level] if level < len(path) else None


def read_taxonomy(
    gallery: GalleryReader, table: str | Path | None = None, columns: Sequence[str] = ()
) -> Taxonomy | None:
    """Taxonomy of a gallery's classes, from a table (:meth:`Taxonomy.from_csv`) or from the gallery's own columns.

    The columns are those of :meth:`Taxonomy.from_records`. None without either.

    Raises:
        RetrievalError: If the table or the columns cannot be used.
    """
    if table is not None:
        return Taxonomy.from_csv(table)
    if not columns:
        return None
    known = gallery.columns()
    for column in columns:
        if column not in known:
            raise RetrievalError(f'the gallery has no column {column!r}; it has {", ".join(known)}')
    return Taxonomy.from_records(gallery.records(gallery.ids()), columns)
