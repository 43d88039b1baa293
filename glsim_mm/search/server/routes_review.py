"""Routes about what waits for a person to decide: duplicates and labels."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import FastAPI, Query, Request
from fastapi import Path as PathParameter
from fastapi.responses import Response

from . import reviewing
from . import schemas_review as schemas
from .asking import read_json
from .numbers import JSONAnswer
from .roles import ADMIN, API, Rule, require
from .routes_ask import json_body
from .routes_writing import MAX_JSON, IfMatch, Number, answer_write, author_of, read_generation
from .schemas_writing import Written
from .service import Name, Service

Cursor = Annotated[str | None, Query(max_length=200)]
Limit = Annotated[int, Query(ge=1, le=100)]


def add_routes(app: FastAPI, service: Service) -> None:
    """Add them to an application."""

    @app.get(f'{API}/duplicates', response_model=schemas.Duplicates, tags=['read'])
    async def list_duplicates(gallery: Name = None, cursor: Cursor = None, limit: Limit = 20) -> Response:
        """Groups of the last search for duplicates (``POST /jobs/duplicates``) about which nobody has decided."""
        served = service.gallery(gallery)
        return JSONAnswer(await service.read(reviewing.list_duplicates, served, service.jobs, cursor, limit))

    @app.post(
        f'{API}/duplicates/{{group}}',
        response_model=Written,
        openapi_extra=json_body(schemas.Decision),
        tags=['write'],
    )
    async def decide_group(
        request: Request,
        group: Annotated[str, PathParameter(max_length=100)],
        gallery: Name = None,
        if_match: IfMatch = None,
    ) -> Response:
        """Remember that rows are duplicates, or that they are none, or remove all but some of them."""
        generation = read_generation(if_match)
        asked = await read_json(request, schemas.Decision, MAX_JSON)
        if asked.action == 'remove':
            require(request, Rule(ADMIN, writes=True))
        name = asked.gallery or gallery
        by = author_of(request)
        change = reviewing.decide(service.gallery(name), service.jobs, group, asked.action, asked.keep, by)
        return await answer_write(service, name, generation, change, follows=True)

    @app.get(f'{API}/review', response_model=schemas.Reviews, tags=['read'])
    async def list_reviews(
        kind: Literal['suspects', 'unknown', 'new'], gallery: Name = None, cursor: Cursor = None, limit: Limit = 20
    ) -> Response:
        """Rows to look at: labels that the last audit doubts, rows without a label, or rows that were added."""
        served = service.gallery(gallery)
        return JSONAnswer(await service.search(reviewing.list_reviews, served, service.jobs, kind, cursor, limit))

    @app.post(
        f'{API}/review/{{number}}', response_model=Written, openapi_extra=json_body(schemas.Reviewed), tags=['write']
    )
    async def review_row(request: Request, number: Number, gallery: Name = None, if_match: IfMatch = None) -> Response:
        """Give a row, and others like it, the label that a person sees; it is remembered that somebody has looked."""
        generation = read_generation(if_match)
        asked = await read_json(request, schemas.Reviewed, MAX_JSON)
        change = reviewing.review([number, *asked.and_similar], asked.label, author_of(request))
        return await answer_write(service, asked.gallery or gallery, generation, change, follows=True)
