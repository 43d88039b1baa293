"""Jobs that find out how well a gallery searches, and how well it recognises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from retrieval.evaluation import evaluate_gallery, format_report
from retrieval.gallery import parse_conditions
from retrieval.gallery.conditions import check_column
from retrieval.gallery.spaces import Spaces, parse_space
from retrieval.ranking import check_method
from retrieval.recognition import describe_settings, store_settings, tune
from retrieval.recognition.settings import KEY

from .galleries import ServedGallery
from .jobs import JobKind, Outcome, Work
from .schemas_writing import Body, Condition

_KS = (1, 2, 4, 8)


class Measured(Body):
    """Which rows are looked at, and by what they are compared."""

    where: list[Condition] = Field([], max_length=50, description='rows that count')
    space: Annotated[str, Field(max_length=300)] | None = Field(None, description='embeddings to compare')


class Evaluate(Measured):
    """What is evaluated."""

    label: Annotated[str, Field(max_length=300)] = Field('label', description='column with the classes')
    rerank: Annotated[str, Field(max_length=300)] | None = Field(None, description='as for a search')
    depth: int = Field(100, ge=1, le=1000, description='hits that are re-ranked')
    exclude_same: bool = Field(False, description='leave out rows whose file is that of the query')
    whole_ranking: bool = Field(False, description='mAP too, which ranks the whole gallery for each photo')


def check_measured(served: ServedGallery, asked: Measured) -> Any:
    """What is asked, if a gallery has its columns and space; else UserError."""
    state = served.newest()
    Spaces.of(state).weights(parse_space(asked.space))
    state.ids(parse_conditions(asked.where))
    if isinstance(asked, Evaluate):
        check_column(asked.label, state.columns())
        if asked.rerank is not None:
            check_method(asked.rerank)
    return asked


def _evaluate(work: Work) -> Outcome:
    """How well each photo finds those of its class, as ``glsim evaluate`` measures it."""
    asked = work.asked
    report = evaluate_gallery(
        work.served.newest(now=True),
        space=parse_space(asked.space),
        where=parse_conditions(asked.where),
        label=asked.label,
        method=asked.rerank,
        depth=asked.depth,
        ks=_KS,
        whole_ranking=asked.whole_ranking,
        exclude_same=asked.exclude_same,
        progress=lambda count: work.report(count, 0, 'Searching with each photo.'),
    )
    first = ', '.join(f'{name} {value:.1%}' for name, value in list(report.metrics.items())[:1])
    said = f'{first} over {report.num_queries:,} photos.'
    return Outcome(said, dict(report.to_json(), text=format_report(report)))


def telling(work: Work) -> Callable[[int, int], None]:
    """What tells a job how many of the photos that are left out, or compared, have been; it may end the job there."""

    def tell(done: int, total: int) -> None:
        work.report(done, total, 'Leaving photos out in turn.' if done < total else 'Choosing what is best.')

    return tell


def _calibrate(work: Work) -> Outcome:
    """Find out how the gallery recognises best, and keep it there, as ``glsim classify --tune`` does."""
    asked = work.asked
    state = work.served.newest(now=True)
    found = tune(state, parse_space(asked.space), parse_conditions(asked.where), progress=telling(work))
    work.check()
    with work.writing() as writer:
        if writer.manifest.generation == state.manifest.generation:
            kept = store_settings(writer, found)
        else:  # answers then say that the gallery has changed since
            kept = replace(found, generation=state.manifest.generation, rows=len(state))
            writer.set_origin({KEY: kept.to_json()})
    words = describe_settings(kept)
    return Outcome(' '.join(words.splitlines()[:2]), dict(text=words, measured=dict(kept.measured)))


EVALUATE = JobKind('evaluate', Evaluate, _evaluate, check_measured)
CALIBRATE = JobKind('calibrate', Measured, _calibrate, check_measured)
