"""Jobs that look through a gallery: for photos that it has twice, and for labels that may be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from retrieval.gallery import GalleryReader, parse_conditions
from retrieval.gallery.spaces import Spaces, parse_space
from retrieval.recognition import audit, find_duplicates, near_threshold, similarities
from retrieval.recognition.duplicates import DuplicateGroup, group_name
from retrieval.recognition.findings import format_audit

from .jobs import JobKind, Outcome, Work
from .kinds_measuring import Measured, check_measured, telling
from .problems import hide_paths

FOUND = 'found.json'
_COMPARED = 1000  # rows of a group


class FindCopies(Measured):
    """Which photos count as nearly the same."""

    threshold: Literal['auto'] | float | None = Field(
        'auto',
        description='least similarity, for l2 largest squared distance; auto: what tells copies from photos that are '
        'alike in this gallery; null: equal files alone',
    )


def read_found(folder: Path) -> list[dict[str, Any]]:
    """What the last job of a kind has found, kept in its folder; nothing where that is gone or of another version."""
    try:
        found = json.loads((folder / FOUND).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []


def _keep(work: Work, found: list[dict[str, Any]]) -> None:
    (work.folder / FOUND).write_text(json.dumps(found), encoding='utf-8')


def _find_duplicates(work: Work) -> Outcome:
    """Groups of equal files and of similar photos, as ``glsim duplicates`` finds them, the most similar first."""
    asked, state = work.asked, work.served.newest(now=True)
    spaces = Spaces.of(state)
    named = next(iter(spaces.weights(parse_space(asked.space))))
    space = spaces.sources(named)[0]  # a metric that was learned from labels moves photos of a class together
    where = parse_conditions(asked.where)

    def tell(done: int, total: int) -> None:
        work.report(done, total, 'Comparing photos.')

    threshold = near_threshold(state, space, where) if asked.threshold == 'auto' else asked.threshold
    groups = find_duplicates(state, threshold, space=space, where=where, progress=tell)
    found = [_describe(state, one, space) for one in groups]
    _keep(work, sorted(found, key=lambda one: -one['similarity']))
    equal = sum(one.kind == 'equal' for one in groups)
    said = f'Groups of equal files: {equal:,}; of similar photos: {len(groups) - equal:,}.'
    return Outcome(said, dict(groups=len(groups), equal=equal, similar=len(groups) - equal))


def _describe(state: GalleryReader, group: DuplicateGroup, space: str) -> dict[str, Any]:
    ids = [int(record.id) for record in group.records]
    alike = 1.0 if group.kind == 'equal' else _least_similarity(state, ids[:_COMPARED], space)
    return dict(id=group_name(ids), ids=ids, similarity=alike, same_content=group.kind == 'equal')


def _least_similarity(state: GalleryReader, ids: list[int], space: str) -> float:
    """The similarity to its most similar row of that row of a group that is least similar to the others."""
    vectors, metric = state.vectors(ids, space), state.manifest.metric
    scores = vectors @ vectors.T
    if metric == 'l2':
        squares = np.square(vectors).sum(axis=1)
        scores = (squares[:, None] + squares - 2 * scores).clip(min=0)
    alike = similarities(scores, metric)
    np.fill_diagonal(alike, -np.inf)
    return float(alike.max(axis=1).min())


def _audit(work: Work) -> Outcome:
    """Labels that may be wrong, and the other findings of ``glsim audit``."""
    asked, state = work.asked, work.served.newest(now=True)
    space, where = parse_space(asked.space), parse_conditions(asked.where)
    found = audit(state, space, where, threshold=asked.threshold, progress=telling(work))
    work.check()
    suspects = [
        dict(id=one.id, label=one.label, reason=one.reason, suggestions=one.suggestions) for one in found.suspects
    ]
    _keep(work, suspects)
    counts = {name: len(getattr(found, name)) for name in ('suspects', 'conflicts', 'pairs', 'outliers')}
    said = f'{len(suspects):,} of {found.checked:,} labels are doubtful.' if found.checked else ' '.join(found.notes)
    return Outcome(said, dict(counts, checked=found.checked, text=hide_paths(format_audit(found, state))))


DUPLICATES = JobKind('duplicates', FindCopies, _find_duplicates, check_measured)
AUDIT = JobKind('audit', FindCopies, _audit, check_measured)
