"""How long FaissRetriever and mmpretrain's ImageToImageRetriever take to search the same gallery."""

from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import NamedTuple

import torch
from mmpretrain.models import ImageToImageRetriever
from torch import nn

from retrieval.vectors import import_faiss

from ..models import FaissRetriever
from .measuring import markdown_table, time_in_turns


class SearchTime(NamedTuple):
    """One way of searching.

    Attributes:
        name: What was called.
        milliseconds: Per query, median over rounds.
        ratio: Time of mmpretrain's retriever divided by this one's.
        same_ranking: The first ``topk`` rows are those of mmpretrain's retriever for every query.
    """

    name: str
    milliseconds: float
    ratio: float
    same_ranking: bool


def use_threads(count: int) -> None:
    """Let torch and FAISS compute with so many threads from here on."""
    torch.set_num_threads(count)
    import_faiss().omp_set_num_threads(count)


def measure_retrievers(
    gallery_size: int = 20_000,
    dimension: int = 384,
    batch_size: int = 8,
    topk: int = 10,
    rounds: int = 5,
    seed: int = 0,
) -> list[SearchTime]:
    """Time ``matching`` of both retrievers, in turns in one process, on random embeddings of a width ``dimension``.

    mmpretrain's, which comes first in the result, takes ``8 * batch_size * gallery_size * dimension`` bytes and more
    for its comparison; ours has the scores of all rows, then those of the first ``topk`` alone.
    """
    generator = torch.Generator().manual_seed(seed)
    gallery, queries = (torch.randn(size, dimension, generator=generator) for size in (gallery_size, batch_size))
    encoder = nn.Linear(1, 1)  # is not called: embeddings are there
    ways = {
        'mmpretrain ImageToImageRetriever': ImageToImageRetriever(encoder, gallery, topk=topk),
        'FaissRetriever': FaissRetriever(encoder, gallery, topk=topk),
        'FaissRetriever, full_scores=False': FaissRetriever(encoder, gallery, topk=topk, full_scores=False),
    }
    for retriever in ways.values():
        retriever.prepare_prototype()
    times = time_in_turns({name: partial(way.matching, queries) for name, way in ways.items()}, rounds)
    rankings = {name: way.matching(queries)['pred_label'][:, :topk] for name, way in ways.items()}
    first = next(iter(ways))
    return [
        SearchTime(
            name,
            1000 * median(seconds) / batch_size,
            median(times[first]) / median(seconds),
            torch.equal(rankings[name], rankings[first]),
        )
        for name, seconds in times.items()
    ]


def render_times(times: Sequence[SearchTime]) -> str:
    """A table in Markdown."""
    rows = [(row.name, f'{row.milliseconds:.2f}', f'{row.ratio:.1f}', row.same_ranking) for row in times]
    return markdown_table(('retriever', 'ms per query', 'times as fast', 'same ranking'), rows)
