"""Search among embeddings of one space, in memory or memory-mapped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import RetrievalError
from ..hits import Hits, RangeHits, merge_ranges, merge_rankings, pad_hits
from ..records import Ids, check_count, check_ids, check_number, read_ids
from ..vectors import METRICS, check_embeddings, unit_length
from .effort import check_effort
from .faiss_calls import bitmap_selector, run_range_search, search_parameters
from .gpu import GpuCopies
from .part import Part, fill_rows, make_part
from .part_search import search_part
from .presets import choose_preset


@dataclass(frozen=True)
class RowFilter:
    """Rows that a filter lets through, found once and used for many searches of the same index.

    It has a mask, bool (n,), for each part, and the parts' tokens, which tell a filter of another index.

    Example:
        >>> allowed = index.select([3, 5, 8])
        >>> index.search(queries, 2, allowed=allowed)
    """

    masks: tuple[np.ndarray, ...]
    parts: tuple[object, ...]


class VectorIndex:
    """Search among embeddings with stable ids. It never changes, so that any number of threads may search.

    To add, replace and remove rows, keep them in a gallery (:func:`retrieval.gallery.create_gallery`). RetrievalError
    says what does not fit.

    Example:
        >>> index = VectorIndex.build(embeddings, metric='cosine', preset='hnsw')
        >>> scores, ids = index.search(queries, k=5)

    Args:
        dimension: Width of the embeddings, >= 1.
        metric: ``'cosine'``, ``'ip'`` (inner product) or ``'l2'``.
        parts: Batches of rows, no id in two of them.
        device: ``'auto'``: the GPUs where FAISS finds any; ``'cpu'``; ``'gpu'``, which says so in the log where the CPU
            has to do. ``'gpu:shard'`` spreads the rows over all GPUs, ``'gpu:fp16'`` keeps those of an exact search
            there as 16-bit numbers, and ``'gpu:shard:fp16'`` does both. Filters that a GPU cannot apply, and kinds of
            index it does not have, are searched on the CPU.
    """

    def __init__(
        self, dimension: int, metric: str = 'cosine', parts: Sequence[Part] = (), device: str = 'auto'
    ) -> None:
        if metric not in METRICS:
            raise RetrievalError(f'metric must be one of {", ".join(METRICS)}, got {metric!r}')
        if dimension < 1:
            raise RetrievalError(f'the dimension of embeddings must be at least 1, got {dimension}')
        self.dimension = dimension
        self.metric = metric
        self._copies = GpuCopies(device)
        self.device = device
        self.parts = tuple(parts)

    @classmethod
    def build(
        cls,
        embeddings: np.ndarray,
        ids: Ids | None = None,
        metric: str = 'cosine',
        preset: str = 'auto',
        memory_limit: int | None = None,
        device: str = 'auto',
    ) -> VectorIndex:
        """An index in memory.

        Args:
            embeddings: Floating point, (n, d).
            ids: >= 0, each once; None for 0 to n - 1.
            metric: ``'cosine'``, ``'ip'`` or ``'l2'``.
            preset: ``'auto'``, a key of :data:`retrieval.index.PRESETS`, or a FAISS factory string.
            memory_limit: Bytes that ``'auto'`` may fill; None for half of the memory.
            device: See :class:`VectorIndex`.
        """
        array = check_embeddings(embeddings)
        index = cls(array.shape[1], metric, device=device)
        numbers = np.arange(len(array)) if ids is None else check_ids(ids, len(array))
        if preset == 'auto':
            preset = choose_preset(len(array), array.shape[1], memory_limit)[0]
        index.parts = (make_part(index.prepare(array), numbers, metric, preset),)
        return index

    def __len__(self) -> int:
        return sum(len(part) - part.num_dead for part in self.parts)

    def reconstruct(self, ids: Ids) -> np.ndarray:
        """Stored vectors of ids, which may repeat: float32 (n, d), unit length for ``'cosine'``."""
        numbers = read_ids(ids)
        vectors = np.empty((len(numbers), self.dimension), np.float32)
        fill_rows(vectors, numbers, ((part, part.rows) for part in self.parts), 'index')
        return vectors

    def select(self, ids: Ids) -> RowFilter:
        """A filter that lets only these rows through, for many searches; unknown ids count for nothing."""
        numbers = read_ids(ids)
        masks = []
        for part in self.parts:
            mask = np.zeros(len(part), bool)
            rows = part.find(numbers)
            mask[rows[rows >= 0]] = True
            masks.append(mask)
        return RowFilter(tuple(masks), tuple(part.token for part in self.parts))

    def search(
        self,
        queries: np.ndarray,
        k: int = 10,
        *,
        allowed: RowFilter | None = None,
        rescore: int | None = None,
        parameters: Mapping[str, int] | None = None,
    ) -> Hits:
        """Best rows of every query, (m, k).

        Args:
            queries: Floating point, (m, d).
            k: Hits per query, >= 1.
            allowed: From :meth:`select`; evaluated inside the search, so that k rows are found where as many are let
                through.
            rescore: Candidates of an approximate index that are scored exactly, 0 for none; None for what the preset
                says.
            parameters: ``nprobe`` of inverted lists, ``efSearch`` of graphs.
        """
        vectors = self.prepare(queries, 'queries')
        check_effort(parameters, [part.approximate for part in self.parts])
        check_count(k, 'k')
        check_count(0 if rescore is None else rescore, 'rescore', 0)
        scores, numbers = [], []
        for part, mask in zip(self.parts, self.masks(allowed)):
            copy = self._copies.find(part, self.parts)
            found, rows = search_part(part, vectors, k, self.metric, mask, rescore, parameters, copy)
            scores.append(found)
            numbers.append(part.ids_of(rows))
        if not scores:
            empty = Hits(np.empty((len(vectors), 0), np.float32), np.empty((len(vectors), 0), np.int64))
            return pad_hits(empty, k, self.metric)
        return merge_rankings(scores, numbers, k, self.metric)

    def range_search(self, queries: np.ndarray, radius: float, *, allowed: RowFilter | None = None) -> RangeHits:
        """All rows with a score above a radius, for ``'l2'`` with a SQUARED distance below it; see :meth:`search`.

        It is exact: every row is compared, whatever the preset.
        """
        vectors = self.prepare(queries, 'queries')
        check_number(radius, 'radius')
        found = []
        for part, mask in zip(self.parts, self.masks(allowed)):
            selector = None if mask is None else bitmap_selector(mask)
            params = search_parameters(part.vectors, selector)
            limits, scores, rows = run_range_search(part.vectors, vectors, float(radius), params)
            found.append(RangeHits(limits.astype(np.int64), scores, part.ids[rows]))
        return merge_ranges(found, len(vectors), self.metric)

    def prepare(self, embeddings: np.ndarray, name: str = 'embeddings') -> np.ndarray:
        """Embeddings as they are stored and compared: float32, (n, d), of unit length for ``'cosine'``."""
        array = check_embeddings(embeddings, name, self.dimension)
        return unit_length(array, name) if self.metric == 'cosine' else array

    def masks(self, allowed: RowFilter | None) -> list[np.ndarray | None]:
        """For each part, the rows that are alive and let through; None for all."""
        if allowed is None:
            return [None if part.num_dead == 0 else part.alive for part in self.parts]
        if allowed.parts != tuple(part.token for part in self.parts):
            raise RetrievalError('the filter is of another index: select again')
        return [mask if part.num_dead == 0 else mask & part.alive for part, mask in zip(self.parts, allowed.masks)]
