"""From queries to answers: searches, votes and explanations in types that JSON knows. No HTTP here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from retrieval.answers import SearchHit, SearchResult, shown_paths
from retrieval.errors import RetrievalError
from retrieval.gallery import GalleryReader, Record, parse_conditions
from retrieval.gallery.conditions import Condition
from retrieval.gallery.spaces import parse_space
from retrieval.hits import Hits
from retrieval.names import pretty_name
from retrieval.recognition import (
    Recognizer,
    Settings,
    Taken,
    class_guide,
    describe_recognition,
    knn_vote,
    number_labels,
    read_names,
    read_settings,
    similarities,
)
from retrieval.recognition.prior import choose_prior
from retrieval.recognition.recognizer import LIKELY, SURE
from retrieval.recognition.words import TARGET

from ...images.decoding import LOGGER
from ..encoded import Encoded
from ..image_search import Queries
from .galleries import ServedGallery
from .measures import Stopwatch
from .problems import Problem, hide_paths
from .schemas import ExplainRequest, IdentifyRequest, SearchRequest

_OF_VOTES = {'neighbors', 'temperature', 'threshold'}  # who names one of these asks for the vote itself
_NOTES = {
    'recogniser': '',
    'filtered': 'How often answers from rows that pass a filter are right was not measured.',
    'asked': 'This is the vote of the nearest photos alone, because the question says how they vote.',
    'untuned': 'This is the vote of the nearest photos alone, because the gallery was not tuned.',
}
_CLEAR_SHARE, _LIKELY_SHARE = 0.9, 0.6  # of the votes


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
    answer = identify(served, queries, IdentifyRequest(**_shared(asked)), stopwatch)
    return {**answer, 'hits': show_hits(served, results[0].hits, asked.maps)}


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
    answer = None if asked.text is not None else _answer(is_known, support, votes, hits)
    if answer is not None and not asked.model_fields_set & _OF_VOTES:
        with stopwatch.stage('recognise'):
            answer |= _based_on('untuned') | _recognised(served, queries, asked, votes)
    return dict(
        gallery=served.name,
        generation=gallery.manifest.generation,
        queries=show_queries([*query.records, *query.others], query.ids is not None),
        answer=answer,
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
        reason = 'the model gives no patches to compare'
        if served.encoder.has_regions:
            reason = 'texts and several photos have no patches to compare: ask with one photo'
        raise Problem(422, 'no-regions', reason)
    for one in (record, *queries.records) if is_row else (record,):
        if one.patch_boxes is None:  # its photo is read again, which must be one of the gallery's
            served.photo_file(one)
    served.search.explain(queries.gallery, [result], None if is_row else queries.patches, served.moves)
    hit = result.hits[0]
    pairs = [one._asdict() for one in hit.matches or ()]
    return dict(
        gallery=served.name,
        hit=show_row(served, record),
        query=show_queries([result.query], is_row)[0],
        region_similarity=hit.region_similarity,
        pairs=pairs,
        unexplained=hide_paths(hit.unexplained),
    )


def describe_class(served: ServedGallery, label: str) -> dict[str, Any]:
    """A class as an identification guide shows it, which is made once for a state.

    Raises:
        Problem: If no row has this label.
    """
    state = served.newest()
    if not len(state.ids([Condition('label', '=', label)])):
        raise Problem(404, 'no-such-class', f'no row of {served.name} has this label')
    settings = recognizer_of(served, state).settings
    try:
        entry = served.kept.get(state, ('guide', label), lambda: class_guide(state, [label], settings=settings)[label])
    except RetrievalError as error:  # of many rows, a random part is looked at
        raise Problem(404, 'class-not-seen', f'the rows of {label} are not among those that were looked at') from error
    wanted = {number for near in entry.nearest for number in near.pair} | set(entry.prototypes)
    shown = {record.id: show_row(served, record) for record in state.records(sorted(wanted))}
    return dict(
        label=entry.label,
        name=pretty_name(entry.label),
        count=entry.count,
        recognised=entry.recognised,
        prototypes=[shown[number] for number in entry.prototypes],
        nearest=[
            dict(
                label=near.label,
                name=pretty_name(near.label),
                similarity=near.similarity,
                confused=near.confused,
                pair=[shown[number] for number in near.pair],
            )
            for near in entry.nearest
        ],
    )


def similar_rows(served: ServedGallery, number: int, limit: int, where: Sequence[str]) -> dict[str, Any]:
    """Rows that are most similar to one, which is not among them.

    Raises:
        Problem: If there is no such row.
    """
    served.record(number)
    results = served.search.find(served.search.row_queries([number]), limit, where=parse_conditions(where))
    return dict(rows=show_hits(served, results[0].hits))


def show_hits(served: ServedGallery, hits: Sequence[SearchHit], maps: bool = False) -> list[dict[str, Any]]:
    """Hits of a search, with their maps if wanted."""
    shown = [dict(rank=hit.rank, score=hit.score, **show_row(served, hit.record)) for hit in hits]
    return [one | dict(map=_map(hit.record)) for one, hit in zip(shown, hits)] if maps else shown


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
    names = ('where', 'exclude_same', 'text', 'only', 'lat', 'lon', 'when')
    return {name: getattr(asked, name) for name in names}


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
        kind = 'clear' if share >= _CLEAR_SHARE else 'likely' if share >= _LIKELY_SHARE else 'split'
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
        probability=None,
        decision=None,
        **_based_on('asked'),
    )


def _based_on(basis: str) -> dict[str, str]:
    """What an answer comes from, and in words why it is a vote, or has no probability."""
    return dict(basis=basis, note=_NOTES[basis])


def recognizer_of(
    served: ServedGallery,
    state: GalleryReader,
    space: Any = None,
    where: Any = None,
    only: Sequence[str] = (),
    with_prior: bool = False,
) -> Recognizer:
    """The recogniser of a state of a gallery, made once for it; its settings may not be tuned.

    Rows that pass a filter are asked as the whole gallery was tuned, without a probability: how often such answers are
    right was not measured.

    Raises:
        UserError: If the gallery has no class of those listed in ``only``, or of the counts by place and season.
    """

    def make() -> Recognizer:
        try:
            settings, _ = read_settings(state, space, where)
            if where is not None and not settings.is_tuned:
                settings = replace(read_settings(state, space)[0], fingerprint='', curve=(), novelty={}, prior=None)
        except RetrievalError as error:  # of another version; photos can be searched all the same
            LOGGER.warning('%s is recognised by the vote alone: %s', served.name, error)
            settings = Settings()
        accept = TARGET if settings.is_tuned else None
        if with_prior and served.prior is not None and choose_prior(settings, served.prior)[0] != settings.prior:
            accept = None  # how many answers with these counts are right was never measured
        prior = served.prior if with_prior else None
        return Recognizer(state, settings, None, space, where, accept, prior, only or None)

    return served.kept.get(state, ('recogniser', repr(space), repr(where), tuple(only), with_prior), make)


def _taken(served: ServedGallery, queries: Queries, asked: IdentifyRequest) -> list[Taken] | None:
    """Where and when photos were taken, as the request says it, or else their EXIF data; None where that is no use."""
    told = Taken.read(asked.lat, asked.lon, asked.when)
    if served.prior is None:
        if told != Taken():
            raise Problem(422, 'no-prior', 'this server has no counts by place and season: start it with --prior')
        return None
    own = [Taken.of(record.metadata)[0] for record in queries.records]
    found = [Taken._make(old if new is None else new for old, new in zip(one, told)) for one in own]
    return found if any(one != Taken() for one in found) else None


def _recognised(
    served: ServedGallery, queries: Queries, asked: IdentifyRequest, votes: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """What the gallery's recogniser says in place of the vote; nothing where it knows no more than that."""
    taken, where = _taken(served, queries, asked), parse_conditions(asked.where)
    recognizer = recognizer_of(served, queries.gallery, queries.space, where, asked.only, taken is not None)
    is_chosen = replace(recognizer.settings, classes=0) != Settings()
    if not votes or not is_chosen and taken is None and not asked.only:
        return {}
    photos = len(queries.records)
    left_out = queries.merged().left_out(asked.exclude_same)
    exclude = None if left_out is None else left_out * photos
    (found,) = recognizer.recognize(queries.vectors, exclude, [0] * photos, taken, transformed=True)
    best = next((one for one in votes if found.candidates and one['label'] == found.candidates[0].label), None)
    names = read_names(queries.gallery, [found])
    if not found.candidates:
        kind = 'nothing'
    elif found.label is None:
        kind = 'unknown'
    else:
        probability = found.candidates[0].probability
        kind = 'clear' if probability >= SURE else 'likely' if probability >= LIKELY else 'split'
    return dict(
        kind=kind,
        label=found.label,
        name=None if found.label is None else names[found.label].common,
        share=best['share'] if best else 0.0,
        neighbors=len(found.neighbors),
        count=found.agreeing,
        sentence=describe_recognition(found, names),
        probability=found.probability,
        decision=found.verdict,
        **_based_on('recogniser' if recognizer.settings.is_tuned else 'filtered' if is_chosen else 'untuned'),
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
