"""Backups of galleries in folders, made while they are read and written, and the way back.

A backup is a gallery in a folder, whose database keeps no write-ahead log. It changes at one moment, when its new
database takes the place of the old one by a rename: before that the new segments are whole, after it the old ones go.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..errors import RetrievalError
from ..index.part import damaged, fsync_file
from .backends import is_folder, open_gallery
from .database import DATABASE_FILE, Database, without_log
from .folder_reader import is_replaced
from .lock import LOCK_FILE, WriteLock
from .replacing import remove_replaced, replace_folder, undo_half_replacement
from .segments import describe_file, sweep

_NEW_DATABASE = f'{DATABASE_FILE}.new'
_UNFINISHED = 'unfinished-copy'  # in a folder that is no gallery yet
_ATTEMPTS = 100
_BLOCK = 1 << 20
_ONLY_ONCE = ('generation', 'next_id', 'next_segment')  # each of these numbers stands for one thing


class Backup(NamedTuple):
    """What a backup, or a restoration, did.

    Example:
        >>> print(back_up_gallery('gallery', '/mnt/backups/gallery').describe())

    Attributes:
        rows: Rows of the state that was copied.
        generation: Number of commits of the gallery up to that state.
        copied: Files of vectors and indexes that were copied.
        kept: Those that were there already.
        size: Bytes that were copied, the database included.
    """

    rows: int
    generation: int
    copied: int
    kept: int
    size: int

    def describe(self) -> str:
        """One line for a person."""
        return (
            f'{self.rows} rows as of change {self.generation}: {self.size / 2**20:.1f} MiB with {self.copied} files '
            f'of embeddings copied, {self.kept} were there'
        )


class _Source(NamedTuple):
    """A committed state of a gallery, and its files, which stay readable whatever a writer removes."""

    root: Path
    database: Database
    meta: dict[str, Any]
    segments: dict[int, dict[str, dict]]  # size and SHA-256 by file, by number of the segment
    files: Mapping[str, BinaryIO]


def back_up_gallery(gallery: str | Path, target: str | Path, *, overwrite: bool = False) -> Backup:
    """Copy the last committed state of a gallery, which others may read and write meanwhile.

    An earlier backup of the gallery at the target is brought up to date: files that it has are not copied again. It
    shows either the old or the new state at every moment. A backup that was interrupted is finished by the next one.
    The backup can be opened as it is.

    Args:
        gallery: Folder of the gallery.
        target: Folder of the backup, which is made if it is not there.
        overwrite: Whether to replace another gallery at the target, or a backup that was changed since.

    Raises:
        RetrievalError: If there is no room, a file of the gallery is damaged, the target is something else, or somebody
            writes to it. The target then is as it was.
    """
    root, place = _folders(gallery, target, 'backed up')
    with _read_source(root) as source, _hold(place):
        mark = dict(backup=dict(of=_identity(source.meta), generation=source.meta['generation']))
        if not _has_gallery(place):
            return _fill_in_place(source, place, mark)
        reason = _why_another(source, place)
        if not reason:
            without_log(place / DATABASE_FILE)
            return _fill_in_place(source, place, mark)
        if not overwrite:
            raise RetrievalError(f'{target} {reason}: choose another place, or replace it (--overwrite)')
        return _fill_beside(source, place, mark)


def restore_gallery(backup: str | Path, target: str | Path, *, overwrite: bool = False) -> Backup:
    """Make a gallery of a backup, after comparing the checksums of all its files.

    Args:
        backup: Folder of the backup, or any gallery in a folder.
        target: Folder of the gallery, which is made if it is not there.
        overwrite: Whether to replace a gallery at the target, once the restored one is whole; new rows then get ids
            that neither of the two has used.

    Raises:
        RetrievalError: If there is no room, the backup is damaged, there is a gallery or something else at the target,
            or somebody writes to it. The target then is as it was.
    """
    root, place = _folders(backup, target, 'restored')
    with _read_source(root) as source, _hold(place):
        if not _has_gallery(place):
            return _fill_in_place(source, place, dict(backup=None))
        if not overwrite:
            raise RetrievalError(f'{target} is a gallery already: choose another place, or replace it (--overwrite)')
        return _fill_beside(source, place, dict(backup=None, **_later_numbers(source, place)))


def _folders(gallery: str | Path, target: str | Path, done: str) -> tuple[Path, Path]:
    """Folders of a gallery that is there and of a copy that lies elsewhere."""
    for location in (gallery, target):
        if not is_folder(location):
            raise RetrievalError(
                f'{location} cannot be {done} like a folder: use milvus-backup '
                '(https://github.com/zilliztech/milvus-backup), or copy it into a folder with '
                'glsim migrate'
            )
    open_gallery(gallery).close()
    root, place = Path(gallery).resolve(), Path(target).resolve()
    if place == root or place.is_relative_to(root) or root.is_relative_to(place):
        raise RetrievalError(f'{target} and {gallery} lie within each other: choose a place outside')
    return root, place


@contextmanager
def _read_source(root: Path) -> Iterator[_Source]:
    """The last committed state, all files open."""
    path = root / DATABASE_FILE
    for _ in range(_ATTEMPTS):
        with ExitStack() as stack:
            database = Database(path)
            stack.callback(database.close)
            database.begin_snapshot()
            segments = {number: files for number, _, _, files, _ in database.read_segments()}
            try:
                names = [name for files in segments.values() for name in files]
                files = {name: stack.enter_context((root / name).open('rb')) for name in names}
            except FileNotFoundError as error:
                if is_replaced(path, database):
                    continue
                raise damaged(Path(error.filename)) from error
            except OSError as error:
                raise RetrievalError(f'{error.filename} cannot be read ({error.strerror})') from error
            yield _Source(root, database, database.read_meta(), segments, files)
            return
    raise RetrievalError(f'{root} is changed faster than it can be copied: try again when less is written')


@contextmanager
def _hold(place: Path) -> Iterator[None]:
    """Keep a folder, which is made if it is not there, from others who write; an empty one does not stay."""
    if not place.exists():
        undo_half_replacement(place)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RetrievalError(f'{place} cannot be made ({error.strerror}): choose another place') from error
    _has_gallery(place)  # else nothing is made in it
    lock = WriteLock(place)
    try:
        undo_half_replacement(place)
        yield
    except OSError as error:
        raise RetrievalError(
            f'{error.filename or place} cannot be written ({error.strerror}): correct that and run the same command '
            'again, which goes on from here'
        ) from error
    finally:
        lock.release()
        if {one.name for one in place.iterdir()} <= {LOCK_FILE, _UNFINISHED}:
            shutil.rmtree(place)


def _has_gallery(place: Path) -> bool:
    """Whether a folder holds a gallery; RetrievalError unless that, an unfinished copy or nothing is there."""
    names = {one.name for one in place.iterdir()}
    if DATABASE_FILE not in names and _UNFINISHED not in names and names - {LOCK_FILE}:
        raise RetrievalError(f'{place} exists and is no gallery: choose another place')
    return DATABASE_FILE in names


def _why_another(source: _Source, place: Path) -> str:
    """Why a gallery is no earlier backup of the source, as the predicate of a sentence; '' if it is one."""
    try:
        meta, segments = _read_state(place)
    except RetrievalError:
        return 'cannot be read'
    mark = meta.get('backup')
    if mark is None:
        return 'is a gallery and no backup'
    if mark['of'] != _identity(source.meta):
        return f'is a backup of another gallery than {source.root}'
    if mark['generation'] != meta['generation']:
        return 'is a backup that was changed since it was made'
    if mark['generation'] > source.meta['generation'] or any(
        segments[number] != source.segments[number] for number in segments.keys() & source.segments.keys()
    ):
        return f'is a backup of a state that {source.root} has not had, or no longer has'
    return ''


def _identity(meta: Mapping[str, Any]) -> Any:
    """What tells a gallery, wherever its copies are, from others; those of earlier versions have no number."""
    return meta.get('identity') or [meta[name] for name in ('created', 'fingerprint', 'metric', 'spaces')]


def _later_numbers(source: _Source, place: Path) -> dict[str, int]:
    """Numbers to go on with, so that none of the gallery that is replaced comes again."""
    try:
        replaced = _read_state(place)[0]
        found = {name: max(source.meta[name], replaced[name]) for name in _ONLY_ONCE}
    except (RetrievalError, KeyError, TypeError):
        return {}  # too damaged to tell
    return {**found, 'generation': found['generation'] + 1}


def _read_state(place: Path) -> tuple[dict[str, Any], dict[int, dict[str, dict]]]:
    """What a gallery says of itself, and the files of each segment."""
    database = Database(place / DATABASE_FILE)
    try:
        return database.read_meta(), {number: files for number, _, _, files, _ in database.read_segments()}
    finally:
        database.close()


def _fill_in_place(source: _Source, place: Path, changes: Mapping[str, Any]) -> Backup:
    """Make a new copy, or bring one up to date."""
    done = _fill(source, place, changes)
    (place / _UNFINISHED).unlink(missing_ok=True)
    return done


def _fill_beside(source: _Source, place: Path, changes: Mapping[str, Any]) -> Backup:
    """Replace a gallery, once the copy is whole."""
    beside = place.with_name(f'{place.name}.replacement')
    remove_replaced(beside)  # left by somebody who was killed then
    beside.mkdir(exist_ok=True)
    if _has_gallery(beside) and not (beside / _UNFINISHED).exists():
        raise RetrievalError(f'{beside} is in the way: give that gallery another name')
    try:
        done = _fill(source, beside, changes)
    finally:
        if not any(beside.iterdir()):
            beside.rmdir()
    replace_folder(beside, place)
    (place / _UNFINISHED).unlink()
    return done


def _fill(source: _Source, folder: Path, changes: Mapping[str, Any]) -> Backup:
    """Make a folder a copy of a gallery, with other values of its meta data, None for none."""
    is_new = not (folder / DATABASE_FILE).exists()
    listed = {} if is_new else _read_state(folder)[1]
    for leftover in folder.glob(f'{_NEW_DATABASE}*'):
        leftover.unlink()
    sweep(folder, listed.keys() | source.segments.keys())  # what an interrupted copy of another state has left
    known = _by_name(listed)
    wanted = _by_name(source.segments)
    missing = [name for name, facts in wanted.items() if not _is_there(folder / name, facts, known.get(name) == facts)]
    size = source.database.size() + sum(wanted[name]['size'] for name in missing)
    free = shutil.disk_usage(folder).free
    if size > free:
        raise RetrievalError(
            f'{folder} needs {size / 2**20:.1f} MiB and has {free / 2**20:.1f} MiB: make room, or choose another disk'
        )
    if is_new:
        (folder / _UNFINISHED).touch()
    rows = len(source.database.find_ids([]))
    source.database.copy_to(folder / _NEW_DATABASE, changes)
    source.database.close()  # it may keep a writer from emptying its log
    for name in missing:
        _copy_file(source.files[name], source.root / name, folder / name, wanted[name])
    folders = {parent for name in wanted for parent in (folder / name).parents if parent.is_relative_to(folder)}
    for one in folders | {folder}:
        fsync_file(one)
    os.replace(folder / _NEW_DATABASE, folder / DATABASE_FILE)
    fsync_file(folder)
    sweep(folder, source.segments)
    generation = {**source.meta, **changes}['generation']
    return Backup(rows, generation, len(missing), len(wanted) - len(missing), size)


def _by_name(segments: Mapping[int, Mapping[str, dict]]) -> dict[str, dict]:
    return {name: facts for files in segments.values() for name, facts in files.items()}


def _is_there(path: Path, facts: Mapping[str, Any], is_listed: bool) -> bool:
    """Whether a copy has a file, which a copy that was interrupted does not list yet."""
    try:
        is_whole = path.stat().st_size == facts['size']
    except OSError:
        return False
    return is_whole and (is_listed or describe_file(path) == facts)


def _copy_file(file: BinaryIO, origin: Path, target: Path, facts: Mapping[str, Any]) -> None:
    """Copy a file durably, so that it is whole where it is there; RetrievalError if it is not as it was written."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f'{target.name}.part')
    digest = hashlib.sha256()
    with part.open('wb') as copy:
        while block := _read_block(file, origin):
            digest.update(block)
            copy.write(block)
    if digest.hexdigest() != facts['sha256']:
        part.unlink()
        raise damaged(origin)
    fsync_file(part)
    os.replace(part, target)


def _read_block(file: BinaryIO, origin: Path) -> bytes:
    try:
        return file.read(_BLOCK)
    except OSError as error:
        raise damaged(origin) from error
