"""Routes that change what a gallery says of its rows, and take that back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI, Header, Query, Request
from fastapi import Path as PathParameter
from fastapi.responses import Response

from retrieval.gallery import ChangeSet, GalleryWriter
from retrieval.records import MAX_ID

from . import schemas_writing as schemas
from . import writing
from .asking import read_json
from .numbers import JSONAnswer
from .problems import Problem
from .roles import ADMIN, API, Rule, require, visitor_of
from .routes_ask import json_body
from .service import Name, Service

MAX_JSON = 4 << 20  # a hundred thousand ids
Number = Annotated[int, PathParameter(ge=0, le=MAX_ID)]
IfMatch = Annotated[
    str | None, Header(alias='If-Match', max_length=100, description='"GENERATION" that the change is based on')
]


def add_routes(app: FastAPI, service: Service) -> None:
    """Add them to an application."""

    @app.patch(
        f'{API}/rows/{{number}}',
        response_model=schemas.Written,
        openapi_extra=json_body(schemas.RowValues),
        tags=['write'],
    )
    async def change_row(request: Request, number: Number, gallery: Name = None, if_match: IfMatch = None) -> Response:
        """Change label, split or metadata of one row."""
        generation = read_generation(if_match)
        asked = await read_json(request, schemas.RowValues)
        served = service.gallery(asked.gallery or gallery)
        change = writing.set_values(served, number, asked.values, author_of(request))
        return await answer_write(service, asked.gallery or gallery, generation, change, follows=True)

    @app.post(
        f'{API}/rows:label',
        response_model=schemas.Written,
        openapi_extra=json_body(schemas.LabelRows),
        tags=['write'],
    )
    async def label_rows(request: Request, gallery: Name = None, if_match: IfMatch = None) -> Response:
        """Give one label, or none, to several rows."""
        generation = read_generation(if_match)
        asked = await read_json(request, schemas.LabelRows, MAX_JSON)
        change = writing.set_label(asked.ids, asked.where, asked.label, author_of(request))
        follows = asked.ids is not None
        return await answer_write(service, asked.gallery or gallery, generation, change, follows)

    @app.get(f'{API}/changes', response_model=schemas.Changes, tags=['read'])
    async def list_changes(gallery: Name = None, limit: Annotated[int, Query(ge=1, le=200)] = 20) -> Response:
        """The last changes of labels, splits and metadata."""
        served = service.gallery(gallery)

        def read() -> dict[str, Any]:
            state = served.newest()
            changes = writing.list_changes(state, limit)
            return dict(gallery=served.name, generation=state.manifest.generation, changes=changes)

        return JSONAnswer(await service.read(read))

    @app.post(
        f'{API}/undo/{{number}}',
        response_model=schemas.Written,
        openapi_extra=json_body(schemas.Undo, is_required=False),
        tags=['write'],
    )
    async def undo_change(request: Request, number: Number, gallery: Name = None, if_match: IfMatch = None) -> Response:
        """Take back a change, also the removal of rows, which needs the admin; taking that back brings it again."""
        generation = read_generation(if_match)
        asked = await read_json(request, schemas.Undo)

        def check_rows() -> None:
            require(request, Rule(ADMIN, writes=True))

        change = writing.undo(number, author_of(request), asked.skip_changed, check_rows)
        return await answer_write(service, asked.gallery or gallery, generation, change, follows=True)


async def answer_write(
    service: Service,
    gallery: str | None,
    generation: int,
    change: Callable[[GalleryWriter], ChangeSet],
    follows: bool = False,
) -> Response:
    """Do :func:`~glsim_mm.search.server.writing.write` in a thread, and answer."""
    done = await service.read(writing.write, service.gallery(gallery), generation, change, follows)
    return JSONAnswer(done, headers={'etag': f'"{done["generation"]}"'})


def read_generation(if_match: str | None) -> int:
    """The generation that a request that writes is based on.

    Raises:
        Problem: If it says none.
    """
    tag = (if_match or '').strip().removeprefix('W/')
    number = tag[1:-1] if len(tag) > 2 and tag[0] == tag[-1] == '"' else ''
    if not (number.isascii() and number.isdecimal()):
        raise Problem(
            428,
            'needs-generation',
            'send the generation that this is based on as the header If-Match: "GENERATION"; answers say which it is',
        )
    return int(number)


def author_of(request: Request) -> str | None:
    """Whom the history names for a request; None for whoever runs the server."""
    visitor = visitor_of(request)
    is_open = not request.app.state.service.settings.visitors
    return visitor.name or (None if is_open else visitor.role)
