"""What classes of a gallery are called: by labels, by people, and in Latin."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import RetrievalError
from ..gallery.contract import GalleryReader
from ..names import pretty_name
from ..text_tables import decode_text, read_bytes

COMMON_COLUMNS = ('common_name', 'common name')
LATIN_COLUMNS = ('latin_name', 'scientific_name', 'latin name', 'scientific name')


def name_columns(gallery: GalleryReader) -> tuple[list[str], list[str]]:
    """Columns of a gallery that hold common names, and those that hold Latin ones."""
    columns = {name.lower(): name for name in gallery.columns()}
    common, latin = ([columns[name] for name in names if name in columns] for names in (COMMON_COLUMNS, LATIN_COLUMNS))
    return common, latin


class ClassIndex:
    """Finds classes of a gallery by what tables and lists call them.

    A name is a label as it is, or, whatever the case, a label as people write it, or a common or Latin name of the
    gallery's columns.

    Example:
        >>> ClassIndex(gallery).find('Laysan Albatross')
        ['002.Laysan_Albatross']

    Args:
        gallery: A gallery whose rows have labels.
        where: Filter; only classes of rows that pass it count.

    Attributes:
        labels: All classes, in the order of their names; at least one.

    Raises:
        RetrievalError: If no row has a label.
    """

    def __init__(self, gallery: GalleryReader, where: Any = None) -> None:
        own = gallery.column('label', where)[1]
        self.labels: list[str] = sorted({one for one in own if one is not None})
        if not self.labels:
            raise RetrievalError(f'no photo of {gallery.location} has a label: name some with glsim label')
        self._known = set(self.labels)
        self._called: dict[str, dict[str, None]] = {}
        for label in self.labels:
            for name in (label, pretty_name(label)):
                self._called.setdefault(name.casefold(), {})[label] = None
        for column in sum(name_columns(gallery), []):
            for label, value in set(zip(own, gallery.column(column, where)[1])):
                if label is not None and value not in (None, ''):
                    self._called.setdefault(str(value).casefold(), {})[label] = None

    def find(self, name: str) -> list[str]:
        """Classes that a name means: several if they share it, none if there is no such class."""
        return [name] if name in self._known else list(self._called.get(name.casefold(), ()))


def read_checklist(path: str | Path) -> list[str]:
    """Names of classes in a text file, one in each line; empty lines, and those that begin with #, are left out.

    RetrievalError if it cannot be read, or names nothing.
    """
    lines = [line.strip() for line in decode_text(read_bytes(Path(path)), str(path)).splitlines()]
    names = [line for line in lines if line and not line.startswith('#')]
    if not names:
        raise RetrievalError(f'{path} names no class: write one in each line')
    return names


def find_listed(classes: ClassIndex, names: Iterable[str], called: str) -> tuple[list[str], str]:
    """Labels of the classes on a checklist, and a sentence on names that the gallery does not have, or ''.

    RetrievalError if it has none of them; ``called`` is what messages call the list.
    """
    every = dict.fromkeys(names)
    found = {name: classes.find(name) for name in every}
    missing = [name for name in every if not found[name]]
    if len(missing) == len(every):
        raise RetrievalError(
            f'no name on {called}, such as {missing[0]!r}, is a class of the gallery: {_some(classes)}'
        )
    note = ''
    if missing:
        count = f'{len(missing):,} of {len(every):,} names on {called}'
        note = f'{count} are no classes of the gallery, such as {missing[0]!r}'
    return sorted({label for labels in found.values() for label in labels}), note


def _some(classes: ClassIndex) -> str:
    return f'it has {", ".join(map(repr, classes.labels[:3]))}' + (' and others' if len(classes.labels) > 3 else '')
