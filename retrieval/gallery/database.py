"""The SQLite database of a gallery, which alone says what the gallery is; it changes in transactions."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import RetrievalError
from ..records import RESERVED, TEXT_COLUMNS, Record, from_layout, to_layout
from .conditions import Condition, quote, to_sql
from .history import Change, ChangeSet
from .lock import WRITER_FILE

DATABASE_FILE = 'gallery.sqlite'
FORMAT = 2  # 1: one root; read as this one
_RECORD = (
    'id INTEGER PRIMARY KEY, path TEXT NOT NULL, label TEXT, split TEXT, content_hash TEXT, layout TEXT, '
    'similarity_map BLOB'
)
_SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE transforms (space TEXT PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE columns (name TEXT PRIMARY KEY COLLATE NOCASE, type TEXT NOT NULL);
CREATE TABLE segments (
    number INTEGER PRIMARY KEY, rows INTEGER NOT NULL, presets TEXT NOT NULL, files TEXT NOT NULL, dead BLOB);
CREATE TABLE records ({_RECORD});
CREATE INDEX records_label ON records (label);
CREATE INDEX records_content_hash ON records (content_hash);
CREATE INDEX records_path ON records (path);
"""
_REMOVED = 'removed'  # what can be brought back; made by the first removal
# Made by the first change, so that galleries that were built before can have a history too.
_HISTORY = (
    'CREATE TABLE IF NOT EXISTS change_sets (number INTEGER PRIMARY KEY, time TEXT NOT NULL, by TEXT NOT NULL, '
    'undoes INTEGER, rows INTEGER NOT NULL, columns TEXT NOT NULL)',
    'CREATE TABLE IF NOT EXISTS changes (number INTEGER NOT NULL, row INTEGER NOT NULL, name TEXT NOT NULL, old, new, '
    'reused INTEGER NOT NULL, PRIMARY KEY (number, row, name)) WITHOUT ROWID',
    'CREATE INDEX IF NOT EXISTS changes_row ON changes (row)',
)
_IDS_AT_ONCE = 30_000
_COPIED_BYTES = 64 << 20  # a reader copies a database up to this size, so that it holds nothing that a writer waits for
_LOG_BYTES = 8 << 20  # a write-ahead log that has grown beyond this shrinks back once no reader needs it
_INDEX_BYTES = 32 << 10  # a smaller index of the log (-shm) was left by somebody who found the disk full
_ATTEMPTS = 20


class DiskFull(RetrievalError):
    """There is no room for a change."""


@contextmanager
def explain(path: Path) -> Iterator[None]:
    """Turn errors of SQLite into sentences that say what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        if 'closed database' in text:
            raise RetrievalError(f'{path.parent} was closed: open it again') from error
        if 'unable to open' in text:
            raise RetrievalError(f'{path} cannot be opened: check who may read and write it and its folder') from error
        if 'full' in text or 'disk I/O' in text:
            raise DiskFull(f'{path} cannot be written ({text}): make room; nothing was changed') from error
        if 'readonly' in text or 'read-only' in text:
            raise RetrievalError(f'{path} cannot be written: check who owns the folder') from error
        if 'locked' in text:
            raise RetrievalError(f'{path} is locked by another program: close it and try again') from error
        if 'closed database' in text:
            raise RetrievalError(f'{path.parent} was closed: open the gallery again') from error
        # SQLite's other complaints are of what it was asked to do, not of the file.
        if type(error) is sqlite3.DatabaseError or 'no such' in text or 'unable to open' in text:
            raise RetrievalError(
                f'{path} is damaged ({text}): restore the gallery from a copy, or build it again'
            ) from error
        raise RetrievalError(f'{path} cannot be used like this ({text}); nothing was changed') from error


class Database:
    """The tables of a gallery; ``create`` makes the file and them. RetrievalError if it cannot be opened.

    Threads may share it. Its connection ends with :meth:`close`, or when nobody refers to it any more.
    """

    def __init__(self, path: Path, writable: bool = False, create: bool = False) -> None:
        self.path = path
        self.writable = writable
        self._lock = threading.RLock()
        with explain(path):
            self.connection = self._connect(create)
            if writable:
                self.connection.execute('PRAGMA synchronous=FULL')
                self.connection.execute(f'PRAGMA journal_size_limit={_LOG_BYTES}')
                self.connection.execute('PRAGMA journal_mode=WAL')  # a backup keeps no log until it is written
            if create:
                self.connection.executescript(_SCHEMA)
        self._close_with(self.connection)

    def close(self) -> None:
        """Close the connection, once no other thread is reading."""
        with self._lock:
            self._closer()

    def empty_log(self) -> bool:
        """Move all commits from the write-ahead log into the file; whether no reader was in the way."""
        with self._use():
            self.connection.execute('PRAGMA busy_timeout=0')
            busy = self.connection.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchone()[0]
        return not busy

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes of the block, or none of them."""
        with self._use():
            self.connection.execute('BEGIN IMMEDIATE')
            try:
                yield
                self.connection.execute('COMMIT')
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute('ROLLBACK')
                raise

    def begin_snapshot(self) -> None:
        """Keep showing the gallery as it is now, whatever others write.

        A large database is held in a transaction of the reader, and its write-ahead log grows as long as that lasts.
        """
        with self._use():
            self.connection.execute('BEGIN')
            if self.size() <= _COPIED_BYTES:
                copy = sqlite3.connect(':memory:', isolation_level=None, check_same_thread=False)
                self.connection.backup(copy)
                self._closer()
                self.connection = copy
                self._close_with(copy)

    def size(self) -> int:
        """Bytes of the tables."""
        with self._use():
            names = 'page_count', 'page_size'
            pages, page_bytes = (self.connection.execute(f'PRAGMA {name}').fetchone()[0] for name in names)
        return pages * page_bytes

    def copy_to(self, path: Path, changes: Mapping[str, Any]) -> None:
        """Copy the tables to a new file that keeps no write-ahead log, with other meta data, None for none.

        RetrievalError if they are damaged.
        """
        with self._lock, explain(path), closing(sqlite3.connect(path, isolation_level=None)) as copy:
            self.connection.backup(copy)
            copy.execute('PRAGMA journal_mode=DELETE')
            copy.execute('BEGIN')
            for key, value in changes.items():
                copy.execute('DELETE FROM meta WHERE key = ?', (key,))
                if value is not None:
                    copy.execute('INSERT INTO meta VALUES (?, ?)', (key, json.dumps(value)))
            copy.execute('COMMIT')
            self._check(copy)

    # -- the gallery as a whole --------------------------------------------------------------------------------------

    def read_meta(self) -> dict[str, Any]:
        """What is known about the gallery as a whole, by key."""
        with self._use():
            return {key: json.loads(value) for key, value in self.connection.execute('SELECT key, value FROM meta')}

    def write_meta(self, values: Mapping[str, Any]) -> None:
        """Change what is known about the gallery as a whole."""
        rows = [(key, json.dumps(value)) for key, value in values.items()]
        self.connection.executemany('INSERT OR REPLACE INTO meta VALUES (?, ?)', rows)

    def read_transforms(self) -> dict[str, bytes]:
        """Whitening of each space that has one."""
        with self._use():
            return dict(self.connection.execute('SELECT space, content FROM transforms'))

    def write_transforms(self, contents: Mapping[str, bytes]) -> None:
        """Store the whitening of spaces, in place of those that were there."""
        self.connection.execute('DELETE FROM transforms')
        self.connection.executemany('INSERT INTO transforms VALUES (?, ?)', contents.items())

    def read_segments(self) -> list[tuple[int, int, dict[str, str], dict[str, dict], bytes | None]]:
        """Number, rows, preset of each space, files and tombstones of each segment, the oldest first."""
        with self._use():
            query = 'SELECT number, rows, presets, files, dead FROM segments ORDER BY number'
            rows = self.connection.execute(query).fetchall()
        return [
            (number, count, json.loads(presets), json.loads(files), dead)
            for number, count, presets, files, dead in rows
        ]

    def add_segment(self, number: int, rows: int, presets: Mapping[str, str], files: Mapping[str, dict]) -> None:
        """Add a segment to the list."""
        values = (number, rows, json.dumps(presets), json.dumps(files))
        self.connection.execute('INSERT INTO segments (number, rows, presets, files) VALUES (?, ?, ?, ?)', values)

    def drop_segments(self, numbers: Sequence[int]) -> None:
        """Take segments off the list."""
        self.connection.executemany('DELETE FROM segments WHERE number = ?', [(number,) for number in numbers])

    def write_dead(self, number: int, alive: np.ndarray) -> None:
        """Store which rows of a segment are removed."""
        dead = None if alive.all() else np.packbits(~alive, bitorder='little').tobytes()
        self.connection.execute('UPDATE segments SET dead = ? WHERE number = ?', (dead, number))

    # -- records -----------------------------------------------------------------------------------------------------

    def columns(self) -> dict[str, str]:
        """Columns that a filter can name, with their types."""
        with self._use():
            own = dict(self.connection.execute('SELECT name, type FROM columns ORDER BY rowid'))
        return {'id': 'INTEGER', **dict.fromkeys(TEXT_COLUMNS, 'TEXT'), **own}

    def set_columns(self, columns: Mapping[str, str]) -> None:
        """Add columns of metadata, or change the type of those that are there."""
        known = self.columns()
        tables = ('records', _REMOVED) if self._has(_REMOVED) else ('records',)
        for name, kind in columns.items():
            for table in () if name in known else tables:
                self.connection.execute(f'ALTER TABLE {table} ADD COLUMN {quote(name)} {kind}')
            self.connection.execute('INSERT OR REPLACE INTO columns VALUES (?, ?)', (name, kind))

    def write_records(self, records: Sequence[Record]) -> None:
        """Insert or replace records by their ids, as :func:`check_records` gives them."""
        own = [name for name in self.columns() if name not in RESERVED]
        names = ', '.join(map(quote, (*RESERVED, *own)))
        marks = ', '.join('?' * (len(RESERVED) + len(own)))
        rows = (_row(record, own) for record in records)
        self.connection.executemany(f'INSERT OR REPLACE INTO records ({names}) VALUES ({marks})', rows)

    def delete_records(self, ids: np.ndarray) -> None:
        """Delete records by id."""
        self.connection.executemany('DELETE FROM records WHERE id = ?', [(number,) for number in ids.tolist()])

    def keep_removed(self, ids: np.ndarray, removals: int) -> None:
        """Delete records by id, so that :meth:`bring_back` finds them; what all but the last removals kept is given up.

        ``removals`` is their number; the changes of this one are written already.
        """
        if not self._has(_REMOVED):
            own = [f', {quote(name)} {kind}' for name, kind in self.columns().items() if name not in RESERVED]
            self.connection.execute(f'CREATE TABLE {_REMOVED} ({_RECORD}{"".join(own)})')
        self._move('records', _REMOVED, ids)
        self.connection.execute(
            f'DELETE FROM {_REMOVED} WHERE id NOT IN (SELECT row FROM changes WHERE number IN (SELECT number FROM '
            "change_sets WHERE coalesce(json_extract(columns, '$.id'), 0) < 0 ORDER BY number DESC LIMIT ?))",
            (removals,),
        )

    def bring_back(self, ids: np.ndarray) -> None:
        """Put removed records back that were kept."""
        self._move(_REMOVED, 'records', ids)

    def give_up_removed(self, ids: np.ndarray | None = None) -> None:
        """Keep no removed records any more, or none of some ids."""
        if self._has(_REMOVED):
            listed = None if ids is None else json.dumps(ids.tolist())
            query = f'DELETE FROM {_REMOVED} WHERE ?1 IS NULL OR id IN (SELECT value FROM json_each(?1))'
            self.connection.execute(query, (listed,))

    def removed_ids(self) -> np.ndarray:
        """Ids of the removed records that are kept, int64, ascending."""
        with self._use():
            query = f'SELECT id FROM {_REMOVED} ORDER BY id'
            rows = self.connection.execute(query).fetchall() if self._has(_REMOVED) else []
        return np.array([row[0] for row in rows], np.int64)

    def _move(self, source: str, target: str, ids: np.ndarray) -> None:
        own = [name for name in self.columns() if name not in RESERVED]
        names = ', '.join(map(quote, (*RESERVED, *own)))
        listed = (json.dumps(ids.tolist()),)
        within = f'FROM {source} WHERE id IN (SELECT value FROM json_each(?))'
        self.connection.execute(f'INSERT OR REPLACE INTO {target} ({names}) SELECT {names} {within}', listed)
        self.connection.execute(f'DELETE {within}', listed)

    def read_records(self, ids: np.ndarray) -> list[Record]:
        """Records in the order of the ids."""
        with self._use():
            own = {name: kind for name, kind in self.columns().items() if name not in RESERVED}
            names = ', '.join(map(quote, (*RESERVED, *own)))
            found: dict[int, Record] = {}
            unique = np.unique(ids)
            for start in range(0, len(unique), _IDS_AT_ONCE):
                wanted = json.dumps(unique[start : start + _IDS_AT_ONCE].tolist())
                query = f'SELECT {names} FROM records WHERE id IN (SELECT value FROM json_each(?))'
                found.update((row[0], _record(row, own)) for row in self.connection.execute(query, (wanted,)))
        missing = [number for number in unique.tolist() if number not in found]
        if missing:
            raise RetrievalError(f'id {missing[0]} is not in the gallery')
        return [found[number] for number in ids.tolist()]

    def find_ids(self, conditions: Sequence[Condition]) -> np.ndarray:
        """Ids of the rows that meet all conditions, int64, ascending."""
        clause, values = to_sql(conditions)
        with self._use():
            rows = self.connection.execute(f'SELECT id FROM records WHERE {clause} ORDER BY id', values)
            return np.fromiter((row[0] for row in rows), np.int64)

    def read_column(self, column: str, conditions: Sequence[Condition]) -> tuple[np.ndarray, list[Any]]:
        """Ids as :meth:`find_ids` gives them, and the values of these rows in a known column."""
        clause, values = to_sql(conditions)
        with self._use():
            query = f'SELECT id, {quote(column)} FROM records WHERE {clause} ORDER BY id'
            rows = self.connection.execute(query, values).fetchall()
        return np.fromiter((row[0] for row in rows), np.int64, len(rows)), [row[1] for row in rows]

    def read_groups(self, column: str) -> tuple[np.ndarray, np.ndarray]:
        """Ids of all rows, int64 ascending, and of each the smallest id of those with its value in a known column.

        A row without a value has its own id.
        """
        with self._use():
            rows = self.connection.execute(f'SELECT id, {quote(column)} FROM records ORDER BY id').fetchall()
        first: dict[Any, int] = {}
        groups = [number if value is None else first.setdefault(value, number) for number, value in rows]
        return np.fromiter((row[0] for row in rows), np.int64, len(rows)), np.array(groups, np.int64)

    def find_hashes(self, hashes: Sequence[str]) -> dict[str, int]:
        """Ids by content hash; of several rows with one hash, the smallest id."""
        query = (
            'SELECT content_hash, min(id) FROM records WHERE content_hash IN (SELECT value FROM json_each(?)) '
            'GROUP BY content_hash'
        )
        found: dict[str, int] = {}
        with self._use():
            for start in range(0, len(hashes), _IDS_AT_ONCE):
                chunk = json.dumps(list(hashes[start : start + _IDS_AT_ONCE]))
                found.update(self.connection.execute(query, (chunk,)))
        return found

    # -- history -----------------------------------------------------------------------------------------------------

    def next_change_set(self) -> int:
        """Number of the next change set."""
        return max((one.number for one in self.read_history()), default=0) + 1

    def write_changes(self, changes: Sequence[Change]) -> None:
        """Add changes to the history; :meth:`write_change_set` says what they are part of."""
        for statement in _HISTORY:
            self.connection.execute(statement)
        self.connection.executemany('INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?)', changes)

    def write_change_set(self, change_set: ChangeSet) -> None:
        """Add a change set, whose changes are written, to the history."""
        one = change_set
        values = (one.number, one.time, one.by, one.undoes, one.rows, json.dumps(one.columns))
        self.connection.execute('INSERT INTO change_sets VALUES (?, ?, ?, ?, ?, ?)', values)

    def mark_reused(self, ids: np.ndarray) -> None:
        """Say of all changes of some ids that they are of rows that are gone."""
        if len(ids) and self._has_history():
            query = 'UPDATE changes SET reused = 1 WHERE row = ?'
            self.connection.executemany(query, [(number,) for number in ids.tolist()])

    def read_history(self) -> list[ChangeSet]:
        """All change sets, by number."""
        query = 'SELECT number, time, by, rows, columns, undoes FROM change_sets ORDER BY number'
        with self._use():
            rows = self.connection.execute(query).fetchall() if self._has_history() else []
        return [
            ChangeSet(number, time, by, count, json.loads(columns), undoes)
            for number, time, by, count, columns, undoes in rows
        ]

    def read_changes(self, number: int | None, ids: np.ndarray | None) -> list[Change]:
        """Changes of one set, None for all, and of some rows, None for all."""
        listed = None if ids is None else json.dumps(ids.tolist())
        query = (
            'SELECT number, row, name, old, new, reused FROM changes WHERE (?1 IS NULL OR number = ?1) '
            'AND (?2 IS NULL OR row IN (SELECT value FROM json_each(?2))) ORDER BY number, row, name'
        )
        with self._use():
            rows = self.connection.execute(query, (number, listed)).fetchall() if self._has_history() else []
        return [Change(*row)._replace(reused=bool(row[5])) for row in rows]

    def _has_history(self) -> bool:
        return self._has('change_sets') and self._has('changes')

    def _has(self, table: str) -> bool:
        query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
        return bool(self.connection.execute(query, (table,)).fetchone()[0])

    def check(self) -> None:
        """Search the whole file for damage; RetrievalError if there is any."""
        with self._use():
            self._check(self.connection)

    def _check(self, connection: sqlite3.Connection) -> None:
        answer = connection.execute('PRAGMA integrity_check').fetchone()[0]
        if answer != 'ok':
            raise RetrievalError(
                f'{self.path} is damaged ({answer}): restore the gallery from a copy, or build it again'
            )

    def _close_with(self, connection: sqlite3.Connection) -> None:
        self._closer = weakref.finalize(self, connection.close)
        self._closer.atexit = False  # a daemon thread may still be reading

    @contextmanager
    def _use(self) -> Iterator[None]:
        """One thread at a time, so that no other closes the connection or sees half of a transaction."""
        with self._lock, explain(self.path):
            yield

    def _connect(self, create: bool) -> sqlite3.Connection:
        mode = 'rwc' if create else 'rw' if self.writable else 'ro'
        for attempt in range(_ATTEMPTS):
            try:
                return _open(f'{self.path.resolve().as_uri()}?mode={mode}')
            except sqlite3.OperationalError:
                # Who may not write can share the database with a writer, but not open it when all others have closed.
                copy = _open_copy(self.path) if mode == 'ro' else None
                if copy is not None:
                    return copy
                if mode != 'ro' or attempt == _ATTEMPTS - 1:
                    raise
            time.sleep(0.01)  # a writer is opening or closing it at this moment
        raise AssertionError('unreachable')


def lost_log(path: Path) -> bool:
    """Whether a database is a copy that was made without its write-ahead log.

    The log is needed after a writer that was killed, or copied while it ran: then its notice is still there, or
    segments that the file does not know yet. An empty log put in its place says that the lost changes are given up.
    """
    if log_of(path).exists() or not _keeps_log(path):
        return False
    notice = path.with_name(WRITER_FILE).exists()
    numbers = [int(one.name) for one in path.parent.glob('segments/*') if one.name.isdecimal()]
    try:
        connection = _open(f'{path.resolve().as_uri()}?immutable=1')  # which makes no files beside it
        try:
            query = "SELECT value FROM meta WHERE key = 'next_segment'"
            unknown = max(numbers, default=0) >= json.loads(connection.execute(query).fetchone()[0])
        finally:
            connection.close()
    except (sqlite3.DatabaseError, TypeError, ValueError):
        return False  # opening it tells what is wrong
    # A writer that comes or goes meanwhile makes the log before its notice, and takes the notice away first.
    return (unknown or notice) and not log_of(path).exists() and notice == path.with_name(WRITER_FILE).exists()


def without_log(path: Path) -> None:
    """Let a database keep no write-ahead log until it is written again; RetrievalError if somebody has it open."""
    if _keeps_log(path):
        with explain(path), closing(_open(f'{path.resolve().as_uri()}?mode=rw')) as connection:
            connection.execute('PRAGMA journal_mode=DELETE')


def _keeps_log(path: Path) -> bool:
    with path.open('rb') as file:
        return file.read(20)[18:] != b'\1\1'  # versions of the file format that SQLite needs to write and to read it


def log_of(path: Path) -> Path:
    """The write-ahead log of a database."""
    return path.with_name(path.name + '-wal')


def _open(location: str) -> sqlite3.Connection:
    connection = sqlite3.connect(location, uri=True, isolation_level=None, timeout=30, check_same_thread=False)
    try:
        connection.execute('PRAGMA schema_version').fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _open_copy(path: Path) -> sqlite3.Connection | None:
    """A copy of a database that nobody has open for writing; None if somebody has."""
    log, index = log_of(path), path.with_name(path.name + '-shm')

    def facts() -> list[tuple[int, ...] | None]:
        states = [one.stat() if one.exists() else None for one in (path, log, index)]
        return [state and (state.st_ino, state.st_size, state.st_mtime_ns) for state in states]

    try:
        before = facts()
        if before[2] is not None and before[2][1] >= _INDEX_BYTES:
            return None
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            for one in (path, log):
                if one.exists():
                    shutil.copyfile(one, Path(folder, one.name))
            if facts() != before:
                return None
            connection = _open(Path(folder, path.name).as_uri())
            connection.execute('PRAGMA journal_mode=DELETE')  # it now needs no file but the one that is open
            return connection
    except OSError as error:
        raise RetrievalError(
            f'{path} cannot be copied to {tempfile.gettempdir()} ({error.strerror}), as it must be where its folder '
            'cannot be written: make room, or check who may read it'
        ) from error


def _row(record: Record, own: Sequence[str]) -> tuple[Any, ...]:
    layout = to_layout(record)
    pixels = None
    if record.similarity_map is not None:
        layout['map_shape'], pixels = list(record.similarity_map.shape), record.similarity_map.tobytes()
    return (
        record.id, record.path, record.label, record.split, record.content_hash,
        json.dumps(layout) if layout else None, pixels, *(record.metadata.get(name) for name in own),
    )  # fmt: skip


def _record(row: tuple[Any, ...], own: Mapping[str, str]) -> Record:
    number, path, label, split, content_hash, layout, pixels = row[: len(RESERVED)]
    facts = json.loads(layout) if layout else {}
    heat = None if pixels is None else np.frombuffer(pixels, np.uint8).reshape(facts['map_shape'])
    return Record(
        path=path,
        label=label,
        split=split,
        content_hash=content_hash,
        similarity_map=heat,
        metadata={
            # A column that became REAL later holds whole numbers too.
            name: float(value) if kind == 'REAL' else value
            for (name, kind), value in zip(own.items(), row[len(RESERVED) :])
            if value is not None
        },
        id=number,
        **from_layout(facts),
    )
