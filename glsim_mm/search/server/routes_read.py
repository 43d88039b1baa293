"""Routes that read rows, classes, columns and photos."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi import Path as PathParameter
from fastapi.responses import Response

from retrieval.records import MAX_ID

from . import answering, rows, schemas
from .numbers import JSONAnswer
from .photos import SIDES, draw_map
from .problems import Problem
from .roles import API
from .service import Name, Service, Where

_PHOTO_AGE = 'private, max-age=3600, must-revalidate'


def add_routes(app: FastAPI, service: Service) -> None:
    """Add them to an application."""
    _add_rows(app, service)
    _add_classes(app, service)
    _add_photos(app, service)


def _add_rows(app: FastAPI, service: Service) -> None:
    @app.get(f'{API}/rows', response_model=schemas.Rows, tags=['read'])
    async def list_rows(
        gallery: Name = None,
        where: Where = [],
        sort: Annotated[str, Query(max_length=300)] = 'id',
        cursor: Annotated[str | None, Query(max_length=20_000)] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        skip: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
    ) -> Response:
        """List rows page by page; ``next`` is the cursor of the page that follows. ``sort=-year`` sorts downwards."""
        served = service.gallery(gallery)

        def read() -> dict[str, Any]:
            state = served.newest()
            ids, total, following = rows.read_page(state, served.kept, where, sort, cursor, limit, skip)
            found = [answering.show_row(served, record) for record in (state.records(ids) if ids else ())]
            generation = state.manifest.generation
            return dict(gallery=served.name, generation=generation, total=total, rows=found, next=following)

        return JSONAnswer(await service.read(read))

    @app.get(f'{API}/rows/{{number}}', response_model=schemas.Row, tags=['read'])
    async def read_row(number: int, gallery: Name = None) -> Response:
        """One row."""
        served = service.gallery(gallery)

        def read() -> dict[str, Any]:
            return answering.show_row(served, served.record(number))

        return JSONAnswer(await service.read(read))

    @app.get(f'{API}/rows/{{number}}/similar', response_model=schemas.SimilarRows, tags=['read'])
    async def list_similar(
        number: int, gallery: Name = None, where: Where = [], limit: Annotated[int, Query(ge=1, le=200)] = 20
    ) -> Response:
        """The rows that are most similar to one, the most similar first."""
        served = service.gallery(gallery)
        return JSONAnswer(await service.search(answering.similar_rows, served, number, limit, where))

    @app.get(f'{API}/columns', response_model=dict[str, str], tags=['read'])
    async def list_columns(gallery: Name = None) -> Response:
        """Columns that filters and sorting can name, with their types."""
        served = service.gallery(gallery)
        return JSONAnswer(await service.read(lambda: served.newest().columns()))

    @app.get(f'{API}/columns/{{column}}', response_model=schemas.ColumnValues, tags=['read'])
    async def count_column(
        column: Annotated[str, PathParameter(max_length=300)],
        gallery: Name = None,
        where: Where = [],
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> Response:
        """The most frequent values of a column and how many rows have each."""
        served = service.gallery(gallery)
        return JSONAnswer(
            await service.read(lambda: rows.count_values(served.newest(), served.kept, column, where, limit))
        )


def _add_classes(app: FastAPI, service: Service) -> None:
    @app.get(f'{API}/classes', response_model=list[schemas.ClassCount], tags=['read'])
    async def list_classes(gallery: Name = None, where: Where = [], prototypes: bool = False) -> Response:
        """Classes and how many rows each has, and, where this is asked for, which of them is the most typical."""
        served = service.gallery(gallery)
        if prototypes:
            found = await service.study(lambda: rows.with_prototypes(served.newest(), served.kept, where))
        else:
            found = await service.read(lambda: rows.count_classes(served.newest(), served.kept, where))
        return JSONAnswer(found)

    @app.get(f'{API}/classes/{{label:path}}', response_model=schemas.ClassDetails, tags=['read'])
    async def read_class(label: Annotated[str, PathParameter(max_length=10_000)], gallery: Name = None) -> Response:
        """Typical photos of a class, and the classes that it may be taken for."""
        served = service.gallery(gallery)
        return JSONAnswer(await service.study(answering.describe_class, served, label))


def _add_photos(app: FastAPI, service: Service) -> None:
    @app.get(f'{API}/photos/{{number}}', response_class=Response, tags=['read'])
    async def read_photo(request: Request, number: int, gallery: Name = None, side: int = SIDES[0]) -> Response:
        """The photo of a row as WebP, whose longer side has at most 320, 800 or 1600 pixels."""
        if side not in SIDES:
            raise Problem(422, 'wrong-request', f'side must be one of {", ".join(map(str, SIDES))}')
        served = service.gallery(gallery)
        known = request.headers.get('if-none-match', '').strip().removeprefix('W/').strip('"') or None

        def read() -> tuple[str, bytes | None]:
            return service.thumbnails.make(served.photo_file(served.record(number)), side, known)

        tag, content = await service.read(read)
        headers = {'etag': f'"{tag}"', 'cache-control': _PHOTO_AGE}
        if content is None:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type='image/webp', headers=headers)

    @app.get(f'{API}/photos/{{number}}/map', response_class=Response, tags=['read'])
    async def read_map(number: int, gallery: Name = None) -> Response:
        """Where the model looked: a grey PNG, a pixel for each patch; ``map_area`` of the row is the part it covers."""
        served = service.gallery(gallery)
        content = await service.read(lambda: draw_map(served.record(number)))
        return Response(content, media_type='image/png', headers={'cache-control': 'private, max-age=60'})
