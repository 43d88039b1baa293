"""Search among embeddings of one space, in memory or memory-mapped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import RetrievalError
from ..hits import Hits, RangeHits
from ..vectors import METRICS, check_embeddings, unit_length
from .copies import GpuCopies
from .effort import check_effort
from .gpu import PLACEMENTS
from .parameters import run_range_search, search_parameters
from .part import Part, make_part, merge_parts
from .part_search import bitmap_selector, search_part
from .presets import choose_preset
from .ranking import merge_ranges, merge_rankings, pad_hits
from .row_ids import check_new_ids
from .selection import RowFilter, allowed_rows, select_ids


class VectorIndex:
    """Embeddings with stable ids: add, update, remove, search.

    New rows are searched exactly; :meth:`compact` builds the index that the preset names over all of them. Removed rows
    leave no trace in results at once, and their space with the next :meth:`compact`. Searches may run in several
    threads; one thread at a time may change the index.

    Args:
        dimension: Width of the embeddings, >= 1.
        metric: ``'cosine'``, ``'ip'`` (inner product) or ``'l2'``.
        preset: ``'auto'``, a key of :data:`retrieval.index.presets.PRESETS`, or a FAISS factory string.
        memory_limit: Bytes that ``'auto'`` may fill. Defaults to half of the memory.
        parts: Rows that are there already.
        device: ``'auto'``: the GPUs where FAISS finds any; ``'cpu'``; ``'gpu'``, which says so in the log where the CPU
            has to do. Filters that a GPU cannot apply, and kinds of index it does not have, are searched on the CPU.
        placement: Of several GPUs: ``'auto'``, ``'replicate'`` or ``'shard'``, see :class:`GpuSearcher`.
        half: float16 on GPUs.

    Raises:
        RetrievalError: If metric, dimension or device are out of range.
    """

    def __init__(
        self,
        dimension: int,
        metric: str = 'cosine',
        preset: str = 'auto',
        memory_limit: int | None = None,
        parts: Sequence[Part] = (),
        device: str = 'auto',
        placement: str = 'auto',
        half: bool = False,
    ) -> None:
        if metric not in METRICS:
            raise RetrievalError(f'metric must be one of {", ".join(METRICS)}, got {metric!r}')
        if dimension < 1:
            raise RetrievalError(f'the dimension of embeddings must be at least 1, got {dimension}')
        if placement not in PLACEMENTS:
            raise RetrievalError(f'placement must be one of {", ".join(PLACEMENTS)}, got {placement!r}')
        if device not in ('auto', 'cpu', 'gpu'):
            raise RetrievalError(f'device must be auto, cpu or gpu, got {device!r}')
        self.dimension = dimension
        self.metric = metric
        self.preset = preset
        self.preset_reason = ''
        self.memory_limit = memory_limit
        self.device = device
        self.placement = placement
        self.half = half
        self._parts = tuple(parts)
        self._copies = GpuCopies(device, placement, half)

    def __len__(self) -> int:
        return sum(len(part) - part.num_dead for part in self._parts)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Batches of rows, the oldest first."""
        return self._parts

    @property
    def ids(self) -> np.ndarray:
        """Ids of all rows, int64, in ascending order."""
        return np.sort(np.concatenate([np.empty(0, np.int64), *(part.ids[part.alive] for part in self._parts)]))

    def add(self, embeddings: np.ndarray, ids: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """Add rows.

        Args:
            embeddings: Floating point, (n, d).
            ids: >= 0, each once and not in the index. Defaults to the numbers after the largest that was ever given.

        Returns:
            Ids, int64 (n,).

        Raises:
            RetrievalError: If embeddings or ids do not fit.
        """
        vectors = self.prepare(embeddings)
        if ids is None:
            start = max([int(part.ids.max()) + 1 for part in self._parts if len(part)], default=0)
            numbers = np.arange(start, start + len(vectors), dtype=np.int64)
        else:
            numbers = check_new_ids(ids, len(vectors))
            known = np.concatenate([numbers[part.find(numbers) >= 0] for part in self._parts] or [numbers[:0]])
            if len(known):
                raise RetrievalError(f'id {known[0]} is in the index already; use update, or another id')
        self._parts = _with_tail(self._parts, make_part(vectors, numbers, self.metric), self.metric)
        return numbers

    def update(self, ids: Sequence[int] | np.ndarray, embeddings: np.ndarray) -> None:
        """Replace rows.

        Args:
            ids: Of rows that are there, each once.
            embeddings: Floating point, (n, d).

        Raises:
            RetrievalError: If an id is unknown, or embeddings do not fit.
        """
        vectors = self.prepare(embeddings)
        numbers = check_new_ids(ids, len(vectors))
        self.remove(numbers)  # nothing can fail after it
        self._parts = _with_tail(self._parts, make_part(vectors, numbers, self.metric), self.metric)

    def remove(self, ids: Sequence[int] | np.ndarray) -> int:
        """Take rows out.

        Args:
            ids: Of rows that are there, each once.

        Returns:
            How many.

        Raises:
            RetrievalError: If an id is unknown or comes twice; nothing is removed then.
        """
        numbers = check_new_ids(ids)
        places = [part.find(numbers) for part in self._parts]
        found = np.any([rows >= 0 for rows in places], axis=0) if places else np.zeros(len(numbers), bool)
        if not found.all():
            raise RetrievalError(f'id {numbers[~found][0]} is not in the index')
        for part, rows in zip(self._parts, places):
            if (rows >= 0).any():
                part.bury(rows[rows >= 0])
        return len(numbers)

    def compact(self, preset: str | None = None) -> None:
        """Put all rows into one part with the index of the preset; space of removed rows is given back.

        Args:
            preset: Changes the preset. Defaults to that of the index.

        Raises:
            RetrievalError: If the preset is unknown, or cannot be trained on these rows.
        """
        wanted = preset or self.preset
        chosen, reason = wanted, f'{wanted}: as asked for.'
        if wanted == 'auto':
            chosen, reason = choose_preset(len(self), self.dimension, self.memory_limit)
        if len(self):
            self._parts = (merge_parts(self._parts, self.metric, chosen),)
            reason = ' '.join([reason, *(str(part.effort) for part in self._parts if part.effort)])
        else:
            self._parts = ()
        self.preset, self.preset_reason = wanted, reason

    def reconstruct(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Stored vectors by id.

        Args:
            ids: (n,); may repeat.

        Returns:
            float32, (n, d), unit length for ``'cosine'``.

        Raises:
            RetrievalError: If an id is unknown.
        """
        numbers = np.asarray(ids, np.int64).reshape(-1)
        vectors = np.empty((len(numbers), self.dimension), np.float32)
        missing = np.ones(len(numbers), bool)
        for part in self._parts:
            rows = part.find(numbers)
            here = rows >= 0
            if here.any():
                vectors[here] = part.rows[rows[here]]
                missing &= ~here
        if missing.any():
            raise RetrievalError(f'id {numbers[missing][0]} is not in the index')
        return vectors

    def select(self, ids: Sequence[int] | np.ndarray) -> RowFilter:
        """A filter that lets only these rows through; keep it for many searches.

        Args:
            ids: Of rows; unknown ones count for nothing.

        Returns:
            For the index as it is now: rows added later are not let through.
        """
        return select_ids(self._parts, np.asarray(ids, np.int64).reshape(-1))

    def search(
        self,
        queries: np.ndarray,
        k: int = 10,
        *,
        allowed: RowFilter | None = None,
        rescore: int | None = None,
        parameters: Mapping[str, int] | None = None,
    ) -> Hits:
        """Best rows of every query.

        Args:
            queries: Floating point, (m, d).
            k: Hits per query, >= 1.
            allowed: Of :meth:`select`; evaluated inside the search, so that k rows are found where as many are let
                through.
            rescore: Candidates of an approximate index that are scored exactly; 0 for none. Defaults to what the preset
                says.
            parameters: ``nprobe`` of inverted lists, ``efSearch`` of graphs.

        Returns:
            (m, k).

        Raises:
            RetrievalError: If queries, k, filter or parameters do not fit.
        """
        vectors = self.prepare(queries, 'queries')
        check_effort(parameters)
        if not isinstance(k, (int, np.integer)) or k < 1 or (rescore or 0) < 0:
            raise RetrievalError(f'k must be at least 1 and rescore at least 0, got {k} and {rescore}')
        parts, masks = self._snapshot(allowed)
        scores, numbers = [], []
        for part, mask in zip(parts, masks):
            limit = parameters if part.approximate is not None else None
            found, rows = search_part(
                part, vectors, k, self.metric, allowed_rows(part, mask), rescore, limit, self._searcher(part)
            )
            scores.append(found)
            numbers.append(_ids_of(part, rows))
        if not scores:
            empty = Hits(np.empty((len(vectors), 0), np.float32), np.empty((len(vectors), 0), np.int64))
            return pad_hits(empty, k, self.metric)
        return merge_rankings(scores, numbers, k, self.metric)

    def range_search(self, queries: np.ndarray, radius: float, *, allowed: RowFilter | None = None) -> RangeHits:
        """All rows within a radius of every query, exactly: every row is compared, whatever the preset.

        Args:
            queries: Floating point, (m, d).
            radius: Scores above it, for ``'l2'`` SQUARED distances below it.
            allowed: See :meth:`search`.

        Returns:
            Best first for every query.

        Raises:
            RetrievalError: If queries, radius or filter do not fit.
        """
        vectors = self.prepare(queries, 'queries')
        if not np.isfinite(radius):
            raise RetrievalError(f'radius must be a finite number, got {radius}')
        found = []
        for part, mask in zip(*self._snapshot(allowed)):
            rows_allowed = allowed_rows(part, mask)
            selector = None if rows_allowed is None else bitmap_selector(rows_allowed)
            params = search_parameters(part.vectors, selector)
            limits, scores, rows = run_range_search(part.vectors, vectors, float(radius), params)
            found.append(RangeHits(limits.astype(np.int64), scores, part.ids[rows]))
        return merge_ranges(found, len(vectors), self.metric)

    def prepare(self, embeddings: np.ndarray, name: str = 'embeddings') -> np.ndarray:
        """Embeddings as they are stored and compared.

        Args:
            embeddings: Floating point, (n, d).
            name: What messages call them.

        Returns:
            float32, (n, d), of unit length for ``'cosine'``.

        Raises:
            RetrievalError: See :func:`retrieval.vectors.check_embeddings`.
        """
        array = check_embeddings(embeddings, name, self.dimension)
        return unit_length(array, name) if self.metric == 'cosine' else array

    def _snapshot(self, allowed: RowFilter | None) -> tuple[tuple[Part, ...], Sequence[np.ndarray | None]]:
        parts = self._parts
        if allowed is None:
            return parts, [None] * len(parts)
        if allowed.parts != tuple(part.token for part in parts[: len(allowed.parts)]):
            raise RetrievalError('the filter is of another index, or the index has been rearranged: select anew')
        later = [np.zeros(len(part), bool) for part in parts[len(allowed.parts) :]]
        return parts, [*allowed.masks, *later]

    def _searcher(self, part: Part) -> Any:
        """The copy of a part on the GPU; None where the CPU searches."""
        return self._copies.find(part, self._parts)


def _with_tail(parts: tuple[Part, ...], part: Part, metric: str) -> tuple[Part, ...]:
    """Parts with a new one; exact parts of like size are merged, so that there are never more than log2(n) of them."""
    tail = [*parts, part]
    while len(tail) > 1 and tail[-2].approximate is None and len(tail[-1]) >= len(tail[-2]):
        tail[-2:] = [merge_parts(tail[-2:], metric)]
    return tuple(tail)


def _ids_of(part: Part, rows: np.ndarray) -> np.ndarray:
    if part.first_id is not None:
        return np.where(rows < 0, -1, rows + part.first_id)
    return np.where(rows < 0, -1, part.ids[rows])
