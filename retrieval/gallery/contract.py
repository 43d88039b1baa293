"""The contract of every gallery, wherever it is kept: its records, what made it, and the methods callers may use."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np

from ..errors import RetrievalError
from ..hits import Hits, RangeHits
from ..records import MAX_ID, TEXT_COLUMNS, Ids, Record, check_count, check_ids, check_records, check_texts, is_list
from ..whitening import Whitening
from .conditions import Condition, check_column, read_conditions
from .history import (
    ROW,
    Change,
    ChangeSet,
    Revise,
    UndoPlan,
    differences,
    is_removal,
    plan_undo,
    revise_undo,
    revise_values,
)

Embeddings = np.ndarray | Mapping[str, np.ndarray]
Space = str | Mapping[str, float] | None
Self = TypeVar('Self', bound='GalleryReader')
_SAMPLE, _READ = 10_000, 1000


@dataclass(frozen=True)
class Fingerprint:
    """Identifies the model that made embeddings; embeddings with different fingerprints cannot be compared.

    Example:
        >>> Fingerprint('w1', 'c1', 'p1').differences(Fingerprint('w2', 'c1', 'p1'))
        ['weights']

    Attributes:
        weights: Hash of the weights, hexadecimal; empty if unknown.
        config: Hash of the model's config; empty if unknown.
        pipeline: Hash of the test pipeline; empty if unknown.
        description: Text for people, which is not compared.
    """

    weights: str
    config: str
    pipeline: str
    description: str = ''

    def differences(self, other: Fingerprint) -> list[str]:
        """Names of the hashes that differ: any of ``'weights'``, ``'config'``, ``'pipeline'``."""
        return [name for name in ('weights', 'config', 'pipeline') if getattr(self, name) != getattr(other, name)]


@dataclass
class Manifest:
    """What made a gallery and what it consists of.

    Example:
        >>> manifest = gallery.manifest
        >>> print(manifest.counts['rows'], manifest.spaces, manifest.origin.get('config'))

    Attributes:
        created: Date and time of creation, ISO 8601, UTC.
        fingerprint: Identifies the model; None for embeddings of unknown origin.
        metric: ``'cosine'``, ``'ip'`` or ``'l2'``.
        spaces: Name and stored dimension of each kind of embedding, the default one first.
        input_dimensions: Dimension of the embeddings of the model, before whitening, by space.
        preset: Kind of index: ``'auto'``, the name of a preset, or a FAISS factory string.
        preset_reason: Why the last index is of its kind.
        counts: Number of ``rows`` and, where known, of ``removed`` rows and ``segments``.
        generation: Number of commits so far.
        files: Size in bytes and ``sha256`` of each file, by its path inside the gallery.
        origin: Free text by key: config, checkpoint, roots of paths (:class:`retrieval.gallery.Roots`), and so on.
    """

    format_version: int
    created: str
    fingerprint: Fingerprint | None
    metric: str
    spaces: dict[str, int]
    input_dimensions: dict[str, int]
    preset: str
    preset_reason: str = ''
    counts: dict[str, int] = field(default_factory=dict)
    generation: int = 0
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)


class GalleryReader(ABC):
    """A gallery that is open for reading: any number of threads and processes may read and search at the same time.

    Where an id or space is unknown, or something else does not fit, methods raise RetrievalError with one sentence.

    Example::

        with open_gallery('gallery') as gallery:
            hits = gallery.search(embeddings, k=5, where={'split': 'train'})
            print(gallery.records(hits.ids[0]))
    """

    @property
    @abstractmethod
    def location(self) -> str:
        """Folder or address of the gallery."""

    @property
    @abstractmethod
    def manifest(self) -> Manifest:
        """What made the gallery and what it consists of."""

    @property
    @abstractmethod
    def transforms(self) -> dict[str, Whitening]:
        """Whitening of each space that has one."""

    @property
    @abstractmethod
    def built_presets(self) -> list[dict[str, str]]:
        """For each part of the gallery, the preset of the index of each space; empty where the server decides."""

    @property
    def unfinished(self) -> list[str]:
        """A sentence for each write that has begun and not ended; a folder never shows any."""
        return []

    @abstractmethod
    def __len__(self) -> int: ...

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Close files and connections; a writer lets others write."""

    @abstractmethod
    def refresh(self) -> None:
        """Take over what others have written since. Calls of other threads keep to the state that they began with.

        If the new state is damaged, the gallery stays at the state before, and RetrievalError says so.
        """

    def snapshot(self: Self) -> GalleryReader:
        """The gallery for several calls that must agree, such as a search and a look at its hits.

        No other thread refreshes it; it need not be closed. A gallery in Milvus always shows the newest state.
        """
        return self

    @abstractmethod
    def verify(self) -> None:
        """Read every file and compare checksums, also while the gallery is written; a server checks its files itself.

        RetrievalError says which file is not as it was written.
        """

    @abstractmethod
    def columns(self) -> dict[str, str]:
        """Columns that a filter can name, with their types ``'TEXT'``, ``'INTEGER'`` and ``'REAL'``."""

    @abstractmethod
    def ids(self, where: Any = None) -> np.ndarray:
        """Ids, int64, ascending, of all rows, or of those that a filter (:func:`read_conditions`) lets through."""

    def why_empty(self, where: Any) -> str:
        """A sentence that says why a filter lets no row through, with values like those asked for; '' if it lets some.

        Values are those of up to 10,000 rows, evenly spread.
        """
        if where is None or len(self.ids(where)):
            return ''
        every = self.ids()
        for condition in read_conditions(where):
            if not len(self.ids([condition])):
                sample = every[np.unique(np.linspace(0, len(every) - 1, min(len(every), _SAMPLE)).astype(np.int64))]
                return f'0 of {len(every)} rows have {condition}{self._similar_values(condition, sample)}'
        counts = [f'{len(self.ids([one]))} have {one}' for one in read_conditions(where)]
        return f'0 of {len(every)} rows meet all conditions: {", ".join(counts)}'

    def _similar_values(self, condition: Condition, ids: np.ndarray) -> str:
        """Question whether values of a text column that are like those of a condition were meant; '' for none."""
        if condition.op not in ('=', 'in') or self.columns()[condition.column] != 'TEXT':
            return ''
        wanted = [condition.value] if condition.op == '=' else condition.value
        known: dict[str, str] = {}
        for start in range(0, len(ids), _READ):
            for record in self.records(ids[start : start + _READ]):
                value = getattr(record, condition.column, record.metadata.get(condition.column))
                if value is not None:
                    known.setdefault(value.casefold(), value)
        alike = [known[one] for value in wanted if value for one in get_close_matches(value.casefold(), known, 1)]
        return f'; did you mean {", ".join(dict.fromkeys(alike))}?' if alike else ''

    @abstractmethod
    def records(self, ids: Ids) -> list[Record]:
        """Records in the order of the ids, which may repeat."""

    def column(self, name: str, where: Any = None) -> tuple[np.ndarray, list[Any]]:
        """Ids, int64, ascending, of the rows that a filter lets through, and the value of each in a column, or None."""
        check_column(name, self.columns())
        ids, values = self.ids(where), []
        for start in range(0, len(ids), _READ):
            for record in self.records(ids[start : start + _READ]):
                values.append(getattr(record, name) if name in ('id', *TEXT_COLUMNS) else record.metadata.get(name))
        return ids, values

    @abstractmethod
    def vectors(self, ids: Ids, space: str | None = None) -> np.ndarray:
        """Vectors of the ids, which may repeat, in a space (None: the first), as they are stored: float32 (n, d).

        They are of unit length for ``'cosine'``, and whitened where the space is.
        """

    @abstractmethod
    def patches(self, ids: Ids) -> np.ndarray | None:
        """Tokens of the patches selected in rows, by id: float16 (n, O, C); None if the gallery keeps none."""

    @abstractmethod
    def find_hashes(self, hashes: Sequence[str]) -> dict[str, int]:
        """Ids by content hash, as in :class:`Record`, the smallest of several; hashes not there are left out."""

    def same_content(self, hashes: Sequence[str | None]) -> list[np.ndarray]:
        """Ids, int64, of all rows of each content hash, none for None; what :meth:`search` takes as ``exclude``."""
        found: dict[str, list[int]] = {one: [] for one in check_texts(hashes, 'hashes')}
        wanted = list(found)
        for start in range(0, len(wanted), _READ):
            ids = self.ids([Condition('content_hash', 'in', wanted[start : start + _READ])])
            for record in self.records(ids):
                found.get(record.content_hash or '', []).append(record.id)
        return [np.array([] if one is None else found[one], np.int64) for one in hashes]

    @abstractmethod
    def history(self) -> list[ChangeSet]:
        """Changes of paths, labels, splits, content hashes and metadata, and removals of rows, the last one at the end.

        Adding rows is no part of it, and in Milvus, which keeps nothing of them, removing rows neither. What was
        changed in a row is kept when it is removed.
        """

    @abstractmethod
    def changes(self, number: int | None = None, ids: Ids | None = None) -> list[Change]:
        """Values that were changed by one change set, or by all, in all rows, or in some by their ids, in that order.

        Ids may be those of rows that were removed.
        """

    def plan_values(self, ids: Ids, values: Any) -> list[Change]:
        """What :meth:`GalleryWriter.set_values` would change, which it would refuse too."""
        numbers = check_ids(ids)
        columns = self.columns()
        revise = revise_values(numbers, values, columns)
        changes = []
        for start in range(0, len(numbers), _READ):
            part = numbers[start : start + _READ]
            old = self.records(part)
            changes += differences(0, old, check_records(revise(old), part, columns, self.ids)[0])
        return changes

    def plan_undo(self, number: int | None = None) -> UndoPlan:
        """What :meth:`GalleryWriter.undo` would change, and which rows are in the way."""
        known = [one.number for one in self.history()]
        if number is not None:
            check_count(number, 'the number of a change', 0, MAX_ID)
        if not known:
            raise RetrievalError(f'nothing was changed in {self.location} so far: there is nothing to take back')
        if number not in (None, *known):
            raise RetrievalError(f'{self.location} has no change {number}: look at its history')
        changes = self.changes(known[-1] if number is None else number)
        rows = np.unique([change.id for change in changes])
        records: dict[int, Record] = {}
        for start in range(0, len(rows), _READ):
            there = self.ids({'id': rows[start : start + _READ]})
            records.update((record.id, record) for record in (self.records(there) if len(there) else ()))
        return plan_undo(changes, records, set(self._kept(rows).tolist()))

    def _kept(self, ids: np.ndarray) -> np.ndarray:
        """Those of some ids, each once, whose rows were removed and can be brought back."""
        return np.empty(0, np.int64)

    @abstractmethod
    def transform(self, embeddings: Embeddings, space: str | None = None) -> np.ndarray:
        """Embeddings of the model (n, d), or a dict of them by space, as a space (None: the first) compares them."""

    @abstractmethod
    def search(
        self,
        queries: Embeddings,
        k: int = 10,
        *,
        space: Space = None,
        where: Any = None,
        group_by: str | None = None,
        exclude: Sequence[Ids] | None = None,
        rescore: int | None = None,
        parameters: Mapping[str, int] | None = None,
        transformed: bool = False,
    ) -> Hits:
        """Best rows of every query, (m, k).

        Args:
            queries: Floating point, (m, d), or such an array for each space.
            k: Hits per query, >= 1.
            space: Name of a space, or weights > 0 of several, whose scores are added up; None for the first.
            where: Filter, evaluated inside the search; see :func:`retrieval.gallery.read_conditions`.
            group_by: Column; the result is the best row of each of the best k groups of rows that share a value in it.
                A row without a value is a group of its own.
            exclude: For each query, ids of rows that are left out of its hits, see :meth:`same_content`.
            rescore: Candidates of an approximate index that are scored exactly, 0 for none; None for what the preset
                says.
            parameters: ``nprobe`` of inverted lists, ``efSearch`` of graphs.
            transformed: Whether queries are as the gallery stores them, from :meth:`vectors` or :meth:`transform`,
                rather than as the model gives them.
        """

    @abstractmethod
    def range_search(
        self,
        queries: Embeddings,
        radius: float,
        *,
        space: str | None = None,
        where: Any = None,
        transformed: bool = False,
    ) -> RangeHits:
        """All rows with a score above a radius, for ``'l2'`` with a SQUARED distance below it; see :meth:`search`.

        A gallery in a folder compares every row, whatever the preset.
        """

    def as_writer(self) -> GalleryWriter:
        """This gallery, to change it; RetrievalError if it was opened for reading."""
        self._refuse_writing()

    def _refuse_writing(self, *_: object, **__: object) -> NoReturn:
        raise RetrievalError(f'{self.location} was opened for reading: open it with writable=True')

    if not TYPE_CHECKING:  # type checkers know that a reader has none of them; people get a sentence
        add = update = remove = compact = set_values = set_labels = undo = set_origin = _refuse_writing
        put_space = prefer_space = remove_space = _refuse_writing


class GalleryWriter(GalleryReader):
    """A gallery that is open for writing: a folder by one process at a time, one in Milvus by any number.

    Every change happens as a whole or not at all, except that in Milvus an update or removal changes row by row.

    Example::

        with create_gallery('gallery', 384) as gallery:
            gallery.add(embeddings, [Record(path=path) for path in paths])
            gallery.compact()
    """

    def as_writer(self) -> GalleryWriter:
        """This gallery."""
        return self

    @abstractmethod
    def add(
        self,
        embeddings: Embeddings,
        records: Sequence[Record] | None = None,
        ids: Ids | None = None,
        patches: np.ndarray | None = None,
        *,
        transformed: bool = False,
    ) -> np.ndarray:
        """Add rows, all or none; returns their ids, int64 (n,).

        Args:
            embeddings: Floating point, (n, d), for each space.
            records: What is known about each row; their ``id`` does not count. None for nothing. All are checked before
                anything is written.
            ids: >= 0, each once and new; None for numbers that were never used before.
            patches: Floating point, (n, O, C), stored as float16. All rows have them, or none.
            transformed: Whether the embeddings are as another gallery stores them, whitened already.
        """

    @abstractmethod
    def update(
        self,
        ids: Ids,
        embeddings: Embeddings | None = None,
        records: Sequence[Record] | None = None,
        patches: np.ndarray | None = None,
        *,
        by: str | None = None,
    ) -> None:
        """Replace embeddings of some or all spaces, whole records, or patches, of rows; what is None stays as it is.

        Each id comes once. What changes in records goes into the :meth:`history`, with the name of whoever changes it,
        ``by``, None for the login name. The rest is as in :meth:`add`.
        """

    def set_values(self, ids: Ids, values: Any, *, by: str | None = None) -> ChangeSet:
        """Change paths, labels, splits and metadata of rows, all or none, and note it in the :meth:`history`.

        Args:
            ids: Each once.
            values: A dict of values by column, for all rows, or a list of them, one for each id. None is no value; what
                is not named stays as it is. Columns of metadata may be new.
            by: Who changes it; None for the login name.
        """
        numbers = check_ids(ids)
        return self._revise(numbers, revise_values(numbers, values, self.columns()), by)

    def set_labels(self, ids: Ids, labels: str | None | Sequence[str | None], *, by: str | None = None) -> ChangeSet:
        """Change labels of rows as :meth:`set_values` does: one for all, None for no label, or a list, one for each."""
        if labels is None or isinstance(labels, str):
            return self.set_values(ids, {'label': labels}, by=by)
        if not is_list(labels):
            raise RetrievalError(f'labels must be text, None, or a list of them, got {labels!r}')
        return self.set_values(ids, [{'label': label} for label in labels], by=by)

    def undo(self, number: int | None = None, *, by: str | None = None, skip_changed: bool = False) -> ChangeSet:
        """Take back a change set, None for the last one; taking back what took back another one brings it again.

        Rows that were removed come back with their ids, records, embeddings and places in the indexes, so that searches
        answer as before, until :meth:`compact` or a hundred later removals give them up.

        Args:
            number: Its number in the :meth:`history`.
            by: Who takes it back; None for the login name.
            skip_changed: Leave out rows that were changed in the same columns since, removed, or encoded anew;
                otherwise RetrievalError names them.
        """
        plan = self.plan_undo(number)
        plan.refuse(skip_changed)
        ids = np.unique(np.array([change.id for change in plan.changes], np.int64))
        if any(change.column == ROW for change in plan.changes):
            if is_removal(plan.changes[0]):
                return self._remove(ids, by, plan.number)
            return self._bring_back(ids, by, plan.number)
        return self._revise(ids, revise_undo(plan), by, plan.number)

    def _remove(self, ids: np.ndarray, by: str | None, undoes: int | None = None) -> ChangeSet:
        """Take rows out again that were brought back."""
        return self.remove(ids, by=by)

    def _bring_back(self, ids: np.ndarray, by: str | None, undoes: int) -> ChangeSet:
        """Bring back rows that were removed."""
        raise RetrievalError(f'{self.location} keeps nothing of rows that were removed')

    @abstractmethod
    def _revise(self, ids: np.ndarray, revise: Revise, by: str | None, undoes: int | None = None) -> ChangeSet:
        """Replace records of rows by revised ones, all or none, and note it in the history if anything changes."""

    @abstractmethod
    def set_origin(self, values: Mapping[str, str]) -> None:
        """Change some values of the manifest's ``origin``, such as where photos lie now; the others stay."""

    @abstractmethod
    def copy_history(self, sets: Iterable[tuple[ChangeSet, list[Change]]]) -> None:
        """Take over the history of galleries whose rows this one has (:func:`numbered_history`).

        What is there already stays; RetrievalError if it differs.
        """

    @abstractmethod
    def remove(self, ids: Ids | None = None, where: Any = None, *, by: str | None = None) -> ChangeSet:
        """Take rows out, by their ids or by a filter; ``rows`` of the result says how many.

        In a folder, :meth:`undo` brings them back until :meth:`compact`, which gives back their space. On a full disk,
        and in Milvus, they are gone at once, and the result has the number 0. An empty filter is refused: all rows are
        ``where={'id': ('>=', 0)}``. ``by`` is who removes them; None for the login name.
        """

    @staticmethod
    def _check_removal(ids: Ids | None, where: Any) -> None:
        """RetrievalError unless a removal says which rows it means."""
        if (ids is None) == (where is None):
            raise RetrievalError('remove takes either ids or a filter')
        if where is not None and not read_conditions(where):
            raise RetrievalError(
                "the filter is empty and would remove every row: give conditions, or where={'id': ('>=', 0)} for all"
            )

    @abstractmethod
    def compact(self, preset: str | None = None, recall: float | None = None) -> None:
        """Build the index over all rows, and give back the space of removed rows.

        ``preset`` changes the gallery's: ``'auto'``, a name, or a FAISS factory string. An approximate index then
        looks as far as finds ``recall`` of the 10 nearest rows of its calibration, None for 0.95, now and whenever
        the gallery is compacted without a preset; Milvus knows no such target. If the preset is unknown, or the disk
        is full, RetrievalError says so, and the gallery is as before.
        """

    @property
    def fixed_spaces(self) -> str:
        """A sentence that says why no space can be added or removed; '' where one can."""
        return ''

    def put_space(self, name: str, transform: Whitening) -> None:
        """Add a space that is computed from another, ``transform.source``, in place of one of that name, if any.

        It is searched by default, and follows what is added and updated. All rows are written again, as
        :meth:`compact` does.
        """
        raise RetrievalError(self.fixed_spaces)

    def prefer_space(self, name: str) -> None:
        """Search a space by default that the gallery has."""
        raise RetrievalError(self.fixed_spaces)

    def remove_space(self, name: str) -> None:
        """Remove a space that is computed from another; RetrievalError if the model gives it."""
        raise RetrievalError(self.fixed_spaces)

    def discard_unfinished(self) -> int:
        """Clear up after the ``unfinished`` writes, none of whose writers may still run; returns how many there were.

        A folder clears up by itself.
        """
        return 0


def check_model(
    location: object, manifest: Manifest, expect: Fingerprint | None = None, dimension: int | None = None
) -> None:
    """Refuse (RetrievalError) the embeddings of another model, by fingerprint or by dimension in the first space.

    Galleries of unknown origin are not refused. ``location`` is what messages call the gallery.
    """
    first = next(iter(manifest.spaces))
    known = manifest.input_dimensions.get(first, manifest.spaces[first])
    if dimension is not None and dimension != known:
        raise RetrievalError(
            f'{location} holds embeddings of dimension {known}, not {dimension}: use the model that made it, or build '
            'it again'
        )
    if expect is None or manifest.fingerprint is None:
        return
    differing = manifest.fingerprint.differences(expect)
    if differing:
        made_by = f' ({manifest.fingerprint.description})' if manifest.fingerprint.description else ''
        raise RetrievalError(
            f'{location} was made by another model{made_by}: its {" and ".join(differing)} '
            f'{"differs" if len(differing) == 1 else "differ"}; use that model, or build the gallery again'
        )


def check_open(location: object, is_open: bool, process: int) -> None:
    """Refuse (RetrievalError) a gallery that is closed, or that another process opened, the number ``process``."""
    if os.getpid() != process:
        raise RetrievalError(
            f'{location} was opened before this process was forked: open it in each process, or start processes with '
            "multiprocessing's 'spawn'"
        )
    if not is_open:
        raise RetrievalError(f'{location} was closed: open it again')
