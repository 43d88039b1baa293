"""The same question to two galleries, or to two spaces of one, whose photos are encoded once where the model is one."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from ...images.photos import read_content
from ..encoded import Encoded
from . import answering
from .asking import read_form
from .galleries import ServedGallery
from .measures import Stopwatch
from .schemas import CompareRequest
from .service import Service


async def compare(service: Service, request: Request) -> dict[str, Any]:
    """Answers of both sides, and what both have found.

    A row is asked for in the gallery of the first side; another gallery is asked with its photo.

    Raises:
        Problem: If a side refuses the question.
    """
    stopwatch = Stopwatch(service.measures)
    with stopwatch.stage('read'):
        asked, given = await read_form(request, CompareRequest, service.settings)
    photos = await service.photos_of(asked, given, stopwatch)
    galleries = [service.gallery(side.gallery or asked.gallery) for side in asked.sides]
    known: dict[int, Encoded] = {}
    sides = []
    for side, served in zip(asked.sides, galleries):
        own = asked.model_copy(update=dict(gallery=served.name, space=side.space or asked.space))
        if own.id is not None and served is not galleries[0]:
            photos = [await service.read(_photo_of_row, galleries[0], own.id)]
            own = own.model_copy(update=dict(id=None))
        model = id(served.encoder)
        queries, encoded = await service.queries_of(served, own, photos, stopwatch, known=known.get(model))
        found = await service.search(answering.search, served, queries, own, stopwatch)
        if encoded is not None:
            known[model] = encoded
            answering.with_errors(found, encoded)
        found['milliseconds'] = stopwatch.finish()
        sides.append(found)
        stopwatch = Stopwatch(service.measures)
    first, second = ([hit['path'] for hit in side['hits']] for side in sides)
    return dict(sides=sides, common=[path for path in first if path in second])


def _photo_of_row(served: ServedGallery, number: int) -> bytes:
    return read_content(served.photo_file(served.record(number)))
