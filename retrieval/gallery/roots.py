"""Named roots: the folders below which the photos of a gallery lie, and the one way from a row's path to its file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import RetrievalError

if TYPE_CHECKING:
    from .contract import GalleryReader, GalleryWriter

_KEY, _NAMED = 'root', 'root:'  # in the origin of a gallery: the default root, and those with a name
_NO_NAME = set('/\\:=')
_LOOKED_AT = 1000
Moves = str | Path | Mapping[str, str | Path] | None
"""Other folders of roots: one for the default root, or several by name, of which ``''`` is the default root."""


@dataclass(frozen=True)
class Roots:
    """The folders of a gallery's photos by name; ``''`` is the default root.

    The path of a row is ``wren/1.jpg`` below the default root, ``phone:wren/1.jpg`` below the root ``phone``, an
    address, or, of a photo below no root, absolute. A photo belongs to the innermost root that it lies in. A path below
    the default root that looks like one of another root has ``./`` before it.

    ::

        roots = Roots.of(gallery.manifest.origin)
        print(roots.file('phone:wren/1.jpg'), roots.path('/mnt/phone/wren/1.jpg'))

    Attributes:
        folders: Absolute folders by name.
    """

    folders: Mapping[str, str]

    @classmethod
    def of(cls, origin: Mapping[str, str]) -> Roots:
        """Those that the origin of a manifest tells."""
        named = {key.removeprefix(_NAMED): folder for key, folder in origin.items() if key.startswith(_NAMED)}
        return cls(({'': origin[_KEY]} if origin.get(_KEY) else {}) | named)

    def to_origin(self) -> dict[str, str]:
        """As the origin of a gallery keeps them."""
        return {_NAMED + name if name else _KEY: folder for name, folder in self.folders.items()}

    @property
    def default(self) -> str:
        """Folder of the default root; '' if there is none."""
        return self.folders.get('', '')

    def split(self, path: str) -> tuple[str, str]:
        """Name of the root of a row's path, and the path below it; addresses and absolute paths stay whole."""
        if _is_whole(path):
            return '', path
        name, colon, below = path.partition(':')
        return (name, below) if name and colon and name in self.folders else ('', path.removeprefix('./'))

    def file(self, path: str) -> str:
        """The file of a row's path; '' for a row without a path."""
        if not path or _is_whole(path):
            return path
        name, below = self.split(path)
        return os.path.join(self.folders.get(name, ''), below)

    def path(self, file: str) -> str:
        """The path that the row of a file has, with slashes; absolute if the file lies below no root.

        A file whose folder is reached through a symbolic link belongs to the root in which the folder lies in fact,
        unless the link itself lies below a root.
        """
        if '://' in file:
            return file
        name, below = self._find(file) or ('', os.path.abspath(file))
        below = below.replace(os.sep, '/')
        if name:
            return f'{name}:{below}'
        return f'./{below}' if self.split(below)[0] else below

    def holds(self, file: str) -> bool:
        """Whether a file or folder lies below a root, or is one."""
        return self._find(file) is not None

    def canonical(self, file: str) -> str:
        """The absolute path of a file or folder through the root that it lies in, without links outside of it."""
        name, below = self._find(file) or ('', os.path.abspath(file))
        return os.path.join(self.folders.get(name, ''), below) if below else self.folders[name]

    def shown(self, file: str) -> str:
        """What reports call a file or folder: as rows do, a root by its name, and what lies elsewhere by its last part.

        Reports are passed on, and absolute paths tell of the machine.
        """
        if '://' in file:
            return file
        found = self._find(file)
        if found is not None and not found[1]:
            return found[0] or os.path.basename(self.default) or self.default
        return self.path(file) if found is not None else os.path.basename(os.path.abspath(file))

    def named(self, name: str, folder: str | Path) -> Roots:
        """With one more root, which people have given its name.

        Raises:
            RetrievalError: If it cannot be called so, the name is taken, or the folder belongs to a root already.
        """
        place = os.path.abspath(folder)
        if self.folders.get(name) == place:
            return self
        if not _is_name(name):
            raise RetrievalError(
                f'a root cannot be called {name!r}: write NAME=DIR, NAME of two characters or more, none of / \\ : ='
            )
        if name in self.folders:
            raise RetrievalError(
                f'{name} is the root {self.folders[name]} already: choose another name, or if it has moved, correct it '
                f'with glsim sync GALLERY --root {name}=DIR'
            )
        found = self._find(place)
        if found is not None:
            raise RetrievalError(
                f'{place} belongs to the root {self.folders[found[0]]}, in which it lies: leave its --root out'
            )
        return Roots({**self.folders, name: place})

    def with_folder(self, folder: str) -> Roots:
        """With a root for a folder below none, called after it; the first one becomes the default root."""
        place = os.path.abspath(folder)
        if not self.folders:
            return Roots({'': place})
        base = os.path.basename(place).encode('utf-8', 'replace').decode()
        base = ''.join('_' if one in _NO_NAME or not one.isprintable() else one for one in base).strip()
        base = base if len(base) > 1 else f'root-{base}'.rstrip('-')
        names = [base, *(f'{base}-{number}' for number in range(2, len(self.folders) + 3))]
        return Roots({**self.folders, next(one for one in names if one not in self.folders): place})

    def moved(self, moves: Moves) -> Roots:
        """With other folders of roots that there are.

        Raises:
            RetrievalError: If there is no such root or folder, or two roots would be one folder.
        """
        given = {} if moves is None else moves if isinstance(moves, Mapping) else {'': moves}
        folders = dict(self.folders)
        for name, folder in given.items():
            if name and name not in self.folders:
                known = ', '.join(filter(None, self.folders)) or 'only the default one'
                raise RetrievalError(f'the gallery has no root {name!r}, but {known}: correct the name')
            if not os.path.isdir(folder):
                raise RetrievalError(f'{folder} is no folder: give the one in which the photos of the root lie now')
            folders[name] = os.path.abspath(folder)
        for name in given:
            twins = [other for other, folder in folders.items() if folder == folders[name] and other != name]
            if twins:
                raise RetrievalError(
                    f'{folders[name]} is the root {twins[0] or "that is the default"} already: sync this folder, and '
                    'rows follow their photos'
                )
        return Roots(folders)

    def used(self, paths: Iterable[str], others: Roots) -> Roots:
        """Without roots that others do not have and in which none of some paths lies."""
        names = {self.split(path)[0] for path in paths}
        return Roots({name: one for name, one in self.folders.items() if name in names or name in others.folders})

    def _find(self, file: str) -> tuple[str, str] | None:
        """Name of the innermost root of a file, and its path below it; None if there is none."""
        place = os.path.abspath(file)
        found = _innermost(place, self.folders)
        if found is None and self.folders:
            # Links that are photos themselves count where they lie.
            folder, name = (place, '') if os.path.isdir(place) else os.path.split(place)
            place = os.path.normpath(os.path.join(os.path.realpath(folder), name))
            found = _innermost(place, {name: os.path.realpath(one) for name, one in self.folders.items()})
        return found


def parse_roots(words: Sequence[str]) -> dict[str, str]:
    """Roots as people type them, by name: ``'DIR'`` for the default one (``''``), ``'NAME=DIR'`` for another.

    ``./a=b`` is a folder. RetrievalError if a root is given twice.
    """
    roots: dict[str, str] = {}
    for word in words:
        name, equals, folder = word.partition('=')
        name, folder = (name, folder) if equals and '/' not in name and '\\' not in name else ('', word)
        if name in roots or not folder:
            raise RetrievalError(f'--root {word}: give each root once, as DIR for the default one, or as NAME=DIR')
        roots[name] = folder
    return roots


def store_roots(gallery: GalleryWriter, roots: Roots) -> None:
    """Let a gallery know roots before rows are written whose paths name them.

    Raises:
        RetrievalError: If it has rows below its default root whose paths begin as those of a new root would, or its
            roots have changed meanwhile.
    """
    known = Roots.of(gallery.manifest.origin).folders
    new = {name: folder for name, folder in roots.folders.items() if known.get(name) != folder}
    for name in new:
        if name in known:
            raise RetrievalError(f'root {name or "(default)"} is {known[name]} by now: run the same command again')
        if name and len(_rows_below(gallery, name)):
            raise RetrievalError(
                f'rows of the gallery have paths that begin with "{name}:": give {new[name]} another name, as with '
                f'--root NAME={new[name]}'
            )
    if new:
        gallery.set_origin(Roots(new).to_origin())


def moved_origin(origin: Mapping[str, str], moves: Moves) -> dict[str, str]:
    """The origin of a gallery with other folders of roots, and with the folders and tables below them that it names."""
    old = Roots.of(origin)
    new = old.moved(moves)
    values = {**origin, **new.to_origin()}
    if origin.get('sources'):
        values['sources'] = json.dumps([_moved(one, old, new) for one in json.loads(origin['sources'])])
    if origin.get('photos'):
        values['photos'] = _moved(origin['photos'], old, new)
    return values


def move_roots(gallery: GalleryReader, moves: Moves, dry_run: bool = False) -> list[str]:
    """Correct the folders of roots that have moved; no row changes, and nothing is read but names of files.

    Folders and tables below them of which the gallery was built are taken along.

    Returns:
        A sentence for each root.

    Raises:
        RetrievalError: If a root is not there, or none of its photos is in its new folder.
    """
    origin = gallery.manifest.origin
    values = moved_origin(origin, moves)
    old, new = Roots.of(origin), Roots.of(values)
    moved = [name for name, folder in new.folders.items() if folder != old.folders.get(name)]
    for name in moved:
        _check_photos(gallery, new, name)
    if moved and not dry_run:
        gallery.as_writer().set_origin({key: value for key, value in values.items() if origin.get(key) != value})
    return [f'root {name or "(default)"}: {old.folders.get(name, "nowhere")} -> {new.folders[name]}' for name in moved]


def _check_photos(gallery: GalleryReader, roots: Roots, name: str) -> None:
    """RetrievalError if none of up to 1,000 rows of a root, evenly spread, has its photo there."""
    rows = _rows_below(gallery, name) if name else gallery.ids()
    rows = rows[:: max(len(rows) // _LOOKED_AT, 1)]
    own = []
    for start in range(0, len(rows), _LOOKED_AT):
        paths = [record.path for record in gallery.records(rows[start : start + _LOOKED_AT])]
        own += [path for path in paths if path and not _is_whole(path) and roots.split(path)[0] == name]
    if own and not any(os.path.lexists(roots.file(path)) for path in own):
        raise RetrievalError(
            f'{roots.folders[name]} has no photo of the root {name or "that is the default"}, such as '
            f'{roots.split(own[0])[1]}: give the folder in which it lies'
        )


def _rows_below(gallery: GalleryReader, name: str) -> np.ndarray:
    return gallery.ids([('path', '>=', f'{name}:'), ('path', '<', f'{name};')])  # ; is next to :


def _moved(file: str, old: Roots, new: Roots) -> str:
    return new.canonical(new.file(old.path(file))) if old.holds(file) else file


def _is_whole(path: str) -> bool:
    return '://' in path or os.path.isabs(path)


def _is_name(name: str) -> bool:
    """Whether a root can be called so; one letter would be a drive of Windows."""
    return len(name) > 1 and name == name.strip() and name.isprintable() and not _NO_NAME & set(name)


def _innermost(place: str, folders: Mapping[str, str]) -> tuple[str, str] | None:
    """Name of the innermost of some folders in which a place lies, and the path below it."""
    found: tuple[str, str] | None = None
    for name, folder in sorted(folders.items(), key=lambda one: len(one[1])):
        if place == folder:
            found = name, ''
        elif place.startswith(folder if folder.endswith(os.sep) else folder + os.sep):
            found = name, place[len(folder) :].lstrip(os.sep)
    return found
