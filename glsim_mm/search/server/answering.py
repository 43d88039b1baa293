"""From queries to answers: searches, votes and explanations in types that JSON knows. No HTTP here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from retrieval.answers import SearchHit, SearchResult, shown_paths
from retrieval.gallery import GalleryReader, Record, parse_conditions
from retrieval.gallery.spaces import parse_space
from retrieval.hits import Hits
from retrieval.names import pretty_name
from retrieval.recognition import Recognizer, Settings, knn_vote, number_labels, similarities

from ..encoded import Encoded
from ..image_search import Queries
from .galleries import ServedGallery
from .measures import Stopwatch
from .problems import Problem, hide_paths
from .schemas import ExplainRequest, IdentifyRequest, SearchRequest

NEIGHBORS = 10
_CLEAR, _LIKELY = 0.9, 0.6  # shares of the votes


def search(served: ServedGallery, queries: Queries, asked: SearchRequest, stopwatch: Stopwatch) -> dict[str, Any]:
    """Hits of one query, and what its nearest photos say of its class."""
    query = queries.merged()
    if asked.rerank == 'region' and query.patches is None and query.ids is None:
        raise Problem(422, 'no-regions', 'regions are compared for one photo, or a row: leave rerank=region out')
    where = parse_conditions(asked.where)
    with stopwatch.stage('search'):
        results = served.search.find(
            query,
            asked.k,
            where=where,
            group_by=asked.group_by,
            exclude_same=asked.exclude_same,
            method=asked.rerank,
            depth=asked.depth,
        )
    answer = identify(served, query, IdentifyRequest(**_shared(asked)), stopwatch)
    hits = [dict(rank=hit.rank, score=hit.score, **show_row(served, hit.record)) for hit in results[0].hits]
    return {**answer, 'hits': hits}


def identify(served: ServedGallery, queries: Queries, asked: IdentifyRequest, stopwatch: Stopwatch) -> dict[str, Any]:
    """What the nearest photos of one query say of its class."""
    query, where = queries.merged(), parse_conditions(asked.where)
    gallery = query.gallery
    with stopwatch.stage('identify'):
        hits = gallery.search(
            query.vectors,
            asked.neighbors,
            space=query.space,
            where=where,
            exclude=query.left_out(asked.exclude_same),
            transformed=True,
        )
        labels = Recognizer(gallery, Settings()).labels(hits.ids)
        names, codes = number_labels(labels)
        voted = knn_vote(similarities(hits.scores, gallery.manifest.metric), codes, asked.temperature)
    counts = Counter(label for label in labels[0].tolist() if label is not None)
    votes = [
        dict(label=names[code], name=_name(names[code]), share=share, similarity=similarity, count=counts[names[code]])
        for code, share, similarity in zip(
            *(one[0].tolist() for one in (voted.codes, voted.shares, voted.similarities))
        )
    ]
    support = float(voted.supports[0, 0]) if votes else 0.0
    is_known = bool(votes) and (asked.threshold is None or support >= asked.threshold)
    return dict(
        gallery=served.name,
        generation=gallery.manifest.generation,
        queries=show_queries([*query.records, *query.others], query.ids is not None),
        answer=None if asked.text is not None else _answer(is_known, support, votes, hits),
        votes=votes,
        passed=_passed(gallery, where),
    )


def explain(served: ServedGallery, queries: Queries, asked: ExplainRequest, stopwatch: Stopwatch) -> dict[str, Any]:
    """Which patches of a row are like which of a query."""
    with stopwatch.stage('explain'):
        return _explain(served, queries, asked)


def _explain(served: ServedGallery, queries: Queries, asked: ExplainRequest) -> dict[str, Any]:
    record = served.record(asked.hit, queries.gallery)
    result = SearchResult(queries.records[0], [SearchHit(1, 0.0, record)])
    is_row = queries.ids is not None
    if not is_row and queries.patches is None:
        raise Problem(422, 'no-regions', 'texts and several photos have no patches to compare: ask with one photo')
    for one in (record, *queries.records) if is_row else (record,):
        if one.patch_boxes is None:  # its photo is read again, which must be one of the gallery's
            served.photo_file(one)
    served.search.explain(queries.gallery, [result], None if is_row else queries.patches, served.moves)
    hit = result.hits[0]
    pairs = [
        dict(similarity=one.similarity, weight=one.weight, query_box=one.query_box, box=one.box)
        for one in hit.matches or ()
    ]
    return dict(
        gallery=served.name,
        hit=show_row(served, record),
        query=show_queries([result.query], is_row)[0],
        region_similarity=hit.region_similarity,
        pairs=pairs,
        unexplained=hide_paths(hit.unexplained),
    )


def space_of(asked: Any) -> str | dict[str, float] | None:
    """The space that a request names."""
    return parse_space(asked.space)


def show_row(served: ServedGallery, record: Record) -> dict[str, Any]:
    """A row without its map."""
    (path,) = shown_paths([record.path])
    return dict(
        id=int(record.id),
        path=path,
        label=record.label,
        name=_name(record.label),
        split=record.split,
        size=_plain(record.image_size),
        box=_plain(record.box),
        map_area=_plain(record.map_area),
        has_map=record.similarity_map is not None,
        has_photo=served.has_photo(record),
        metadata=record.metadata,
    )


def show_queries(records: Sequence[Record], are_rows: bool) -> list[dict[str, Any]]:
    """What was asked with, and where the model looked."""
    return [
        dict(
            id=int(record.id) if are_rows else None,
            text=record.metadata.get('text') if not are_rows else None,
            size=_plain(record.image_size),
            box=_plain(record.box),
            map=_map(record),
            error=None,
        )
        for record in records
    ]


def with_errors(answer: dict[str, Any], encoded: Encoded) -> None:
    """Put photos that cannot be used among the queries of an answer, in their places."""
    for error in sorted(encoded.errors):
        refused = dict(id=None, text=None, size=None, box=None, map=None, error=hide_paths(error.reason))
        answer['queries'].insert(error.position, refused)


def _shared(asked: SearchRequest) -> dict[str, Any]:
    return dict(where=asked.where, exclude_same=asked.exclude_same, text=asked.text, neighbors=NEIGHBORS)


def _passed(gallery: GalleryReader, where: Any) -> dict[str, Any]:
    of = len(gallery)
    rows = of if where is None else len(gallery.ids(where))
    return dict(rows=rows, of=of, note=gallery.why_empty(where) if not rows and of else '')


def _answer(is_known: bool, support: float, votes: Sequence[dict[str, Any]], hits: Hits) -> dict[str, Any]:
    """The answer with its reason."""
    found = int((hits.ids[0] >= 0).sum())
    best: dict[str, Any] = votes[0] if votes else dict(label=None, name=None, share=0.0, similarity=None, count=0)
    share, name, count = best['share'], best['name'], best['count']
    if not votes:
        kind, said = 'nothing', 'No photo that could be compared has a label.'
    elif not is_known:
        kind, said = 'unknown', f'Unknown: the nearest, {name}, has the support {support:.2f} alone.'
    else:
        kind = 'clear' if share >= _CLEAR else 'likely' if share >= _LIKELY else 'split'
        word = {'clear': name, 'likely': f'Probably {name}', 'split': f'Perhaps {name}'}[kind]
        said = f'{word}: {count} of the {found} nearest photos are of it, with {share:.0%} of the votes.'
        if kind == 'split' and len(votes) > 1:
            said += f' {votes[1]["name"]} has {votes[1]["share"]:.0%}.'
    return dict(
        kind=kind,
        label=best['label'] if is_known else None,
        name=name if is_known else None,
        share=share,
        support=support,
        neighbors=found,
        count=count,
        similarity=best['similarity'],
        sentence=said,
    )


def _name(label: str | None) -> str | None:
    return None if label is None else pretty_name(label)


def _map(record: Record) -> dict[str, Any] | None:
    heat = record.similarity_map
    if heat is None:
        return None
    area = _plain(record.map_area)
    return dict(rows=heat.shape[0], columns=heat.shape[1], values=np.ravel(heat).tolist(), area=area)


def _plain(values: Any) -> list[Any] | None:
    return None if values is None else [value.item() if hasattr(value, 'item') else value for value in values]
