"""The application: routes of the API and of the page over galleries that are open."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from retrieval.errors import RetrievalError, UserError
from retrieval.gallery import GalleryReader
from retrieval.ranking import METHODS

from ...version import __version__
from ..encoded import Encoded
from ..image_search import Queries
from . import answering, rows, schemas
from .asking import FORM, PHOTO, Photographer, PhotoJob, encode_batch, read_form, unless_aborted
from .batching import Batcher
from .galleries import ServedGallery
from .guard import API, COOKIE, Door, Guard
from .measures import Measures, Stopwatch
from .photos import SIDES, Thumbnails, default_cache, draw_map
from .problems import Problem, hide_paths, too_busy
from .settings import MAX_PHOTOS, Settings

PAGE = Path(__file__).parent / 'page'
_BATCH = {'cpu': 16, 'cuda': 64}
Name = Annotated[str | None, Query(max_length=300)]
Where = Annotated[list[str], Query(max_length=50)]
_PHOTO_AGE = 'private, max-age=3600, must-revalidate'
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: dict(description=HTTPStatus(status).phrase, content={'application/problem+json': {}})
    for status in (401, 403, 404, 413, 422, 429, 503)
}


class Service:
    """What all routes share.

    Args:
        galleries: At least one, open for reading; the first is the default.
        settings: Limits.
        cache: Folder of thumbnails; None for the usual one.
    """

    def __init__(self, galleries: Sequence[ServedGallery], settings: Settings, cache: Path | None = None) -> None:
        self.galleries = {one.name: one for one in galleries}
        self.settings = settings
        self.measures = Measures()
        self.thumbnails = Thumbnails(default_cache() if cache is None else cache)
        self.is_ready = False
        self._batchers: dict[int, Batcher[PhotoJob, Encoded]] = {}
        self._photographer: Photographer | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._busy = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Threads and queues, as long as the server runs."""
        threads = min(4, os.cpu_count() or 1)
        self._photographer = Photographer(self.settings, threads)
        self._readers = ThreadPoolExecutor(threads, thread_name_prefix='readers')  # thumbnails do not hold up searches
        try:
            for one in self.galleries.values():
                if id(one.encoder) not in self._batchers:
                    batcher = self._batchers[id(one.encoder)] = self._batcher(one)
                    await batcher.start()
            self.is_ready = True
            yield
        finally:
            self.is_ready = False
            for batcher in self._batchers.values():
                await batcher.stop()
            self._batchers.clear()
            self._photographer.close()
            self._readers.shutdown(wait=True, cancel_futures=True)

    def _batcher(self, served: ServedGallery) -> Batcher[PhotoJob, Encoded]:
        encoder = served.encoder
        size = _BATCH.get(getattr(getattr(encoder, 'device', None), 'type', 'cpu'), 16)

        def compute(jobs: Sequence[PhotoJob]) -> list[Encoded]:
            return encode_batch(encoder, jobs)

        return Batcher(compute, size, self.settings.patience, self.settings.queue, self.measures)

    def gallery(self, name: str | None) -> ServedGallery:
        """A gallery by its name, the first for None.

        Raises:
            Problem: If there is none of this name.
        """
        if name is None:
            return next(iter(self.galleries.values()))
        found = self.galleries.get(name)
        if found is None:
            raise Problem(404, 'no-such-gallery', f'there is no gallery of this name, but {", ".join(self.galleries)}')
        return found

    async def read(self, function: Any, *arguments: Any) -> Any:
        """Call what reads galleries or photos, to be sent out, in a thread."""
        if self._readers is None:
            raise too_busy('the server is not ready yet')
        return await asyncio.get_running_loop().run_in_executor(self._readers, function, *arguments)

    async def ask(self, request: Request, kind: type[schemas.Asked], answer: Any, patches: bool = False) -> Any:
        """Read a request, make queries of it, and answer them with ``answer(served, queries, asked, stopwatch)``.

        Raises:
            Problem: If it is refused.
        """
        if self._busy >= self.settings.queue:
            raise too_busy(f'{self._busy} requests are being answered: try again in a moment')
        self._busy += 1
        try:
            return await unless_aborted(request, self._ask(request, kind, answer, patches), self.settings.seconds)
        finally:
            self._busy -= 1

    async def _ask(self, request: Request, kind: type[schemas.Asked], answer: Any, patches: bool) -> Any:
        stopwatch = Stopwatch(self.measures)
        with stopwatch.stage('read'):
            asked, photos = await read_form(request, kind, self.settings)
        served = self.gallery(asked.gallery)
        if sum((bool(photos), asked.id is not None, asked.text is not None)) != 1:
            raise Problem(422, 'wrong-request', 'ask with photos, or with the id of a row, or with a text')
        if self._photographer is None:
            raise too_busy('the server is not ready yet')
        batcher = self._batchers[id(served.encoder)]
        encoded: Encoded | None = None
        with stopwatch.stage('model'):
            if photos:
                encoded = await self._photographer.encode(served.encoder, batcher, photos, asked.boxes, patches)
                queries = await self._photographer.run(_photo_queries, served, encoded, asked)
            elif asked.text is not None:
                queries = await batcher.call(_text_queries, served, asked)
            else:
                queries = await self._photographer.run(_row_queries, served, asked)
        if patches:  # which may take the model once more, for the photos of hits
            found = await batcher.call(answer, served, queries, asked, stopwatch)
        else:
            found = await self._photographer.run(answer, served, queries, asked, stopwatch)
        if encoded is not None and 'queries' in found:
            answering.with_errors(found, encoded)
        found['milliseconds'] = stopwatch.finish()
        return found


def create_app(galleries: Sequence[ServedGallery], settings: Settings, cache: Path | None = None) -> FastAPI:
    """The application, ready to be run by an ASGI server.

    Args:
        galleries: At least one, open for reading, with the models that made them.
        settings: Names, token and limits.
        cache: Folder of thumbnails; None for the usual one.

    Raises:
        UserError: If it would be open to other machines without a token.
    """
    settings.check()
    if not galleries:
        raise RetrievalError('there is no gallery to serve: name at least one')
    service = Service(galleries, settings, cache)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title='glsim serve',
        version=__version__,
        openapi_url=f'{API}/openapi.json',
        docs_url=None,  # FastAPI's pages load their scripts from other hosts
        redoc_url=None,
        lifespan=lifespan,
        responses=_PROBLEMS,
    )
    app.state.service = service
    _add_errors(app, service.measures)
    _add_questions(app, service)
    _add_reading(app, service)
    _add_photos(app, service)
    _add_state(app, service)
    door = Door(settings.token)
    _add_session(app, door)
    _add_page(app)
    app.add_middleware(Guard, settings=settings, measures=service.measures, door=door)
    return app


def _photo_queries(served: ServedGallery, encoded: Encoded, asked: schemas.Asked) -> Queries:
    served.newest()
    return served.search.encoded_queries(encoded, answering.space_of(asked))


def _row_queries(served: ServedGallery, asked: schemas.Asked) -> Queries:
    served.record(asked.id if asked.id is not None else -1)
    return served.search.row_queries([asked.id or 0], answering.space_of(asked))


def _text_queries(served: ServedGallery, asked: schemas.Asked) -> Queries:
    served.newest()
    return served.search.text_queries([asked.text or ''], answering.space_of(asked))


def _body(kind: type[schemas.Asked]) -> dict[str, Any]:
    """What OpenAPI says of a request that is JSON, or a form with photos and JSON."""
    schema = kind.model_json_schema()
    photos = dict(type='array', maxItems=MAX_PHOTOS, items=dict(type='string', format='binary'))
    form = dict(type='object', properties={PHOTO: photos, FORM: dict(schema, description='this, as JSON')})
    content = {'multipart/form-data': dict(schema=form), 'application/json': dict(schema=schema)}
    return dict(requestBody=dict(required=True, content=content))


def _add_errors(app: FastAPI, measures: Measures) -> None:
    async def refuse(request: Request, problem: Exception) -> Response:
        if not isinstance(problem, Problem):
            problem = Problem(500, 'bug', 'this should not have happened; the log of the server says more')
        measures.rejects.labels(problem.kind).inc()
        return problem.response()

    async def refuse_mistake(request: Request, error: Exception) -> Response:
        return await refuse(request, Problem(422, 'wrong-request', hide_paths(str(error))))

    async def refuse_values(request: Request, error: Exception) -> Response:
        faults = error.errors() if isinstance(error, RequestValidationError) else []
        found = [dict(at='.'.join(map(str, one['loc'])), detail=one['msg']) for one in faults]
        said = '; '.join(f'{one["at"]}: {one["detail"]}' for one in found[:3])
        return await refuse(request, Problem(422, 'wrong-request', said, errors=found))

    async def refuse_route(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        headers = error.headers if isinstance(error, HTTPException) else None
        return await refuse(request, Problem(status, 'no-such-route', HTTPStatus(status).phrase, headers))

    app.add_exception_handler(Problem, refuse)
    app.add_exception_handler(UserError, refuse_mistake)
    app.add_exception_handler(RequestValidationError, refuse_values)
    app.add_exception_handler(HTTPException, refuse_route)
    app.add_exception_handler(Exception, refuse)


def _add_questions(app: FastAPI, service: Service) -> None:
    @app.post(
        f'{API}/search', response_model=schemas.SearchAnswer, openapi_extra=_body(schemas.SearchRequest), tags=['ask']
    )
    async def search_gallery(request: Request) -> Response:
        """Search with up to five photos of one individual, with a row of the gallery, or with a text."""
        return JSONResponse(await service.ask(request, schemas.SearchRequest, answering.search))

    @app.post(
        f'{API}/identify',
        response_model=schemas.IdentifyAnswer,
        openapi_extra=_body(schemas.IdentifyRequest),
        tags=['ask'],
    )
    async def identify_photos(request: Request) -> Response:
        """Name the class that the nearest photos vote for."""
        return JSONResponse(await service.ask(request, schemas.IdentifyRequest, answering.identify))

    @app.post(
        f'{API}/explain',
        response_model=schemas.ExplainAnswer,
        openapi_extra=_body(schemas.ExplainRequest),
        tags=['ask'],
    )
    async def explain_hit(request: Request) -> Response:
        """Tell which patches of a hit are like which of the query."""
        return JSONResponse(await service.ask(request, schemas.ExplainRequest, answering.explain, patches=True))


def _add_reading(app: FastAPI, service: Service) -> None:
    @app.get(f'{API}/rows', response_model=schemas.Rows, tags=['read'])
    async def list_rows(
        gallery: Name = None,
        where: Where = [],
        sort: Annotated[str, Query(max_length=300)] = 'id',
        cursor: Annotated[str | None, Query(max_length=20_000)] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> Response:
        """List rows page by page; ``next`` is the cursor of the page that follows. ``sort=-year`` sorts downwards."""
        served = service.gallery(gallery)

        def read() -> dict[str, Any]:
            state = served.newest()
            ids, total, following = rows.read_page(state, where, sort, cursor, limit)
            found = [answering.show_row(served, record) for record in (state.records(ids) if ids else ())]
            generation = state.manifest.generation
            return dict(gallery=served.name, generation=generation, total=total, rows=found, next=following)

        return JSONResponse(await service.read(read))

    @app.get(f'{API}/rows/{{number}}', response_model=schemas.Row, tags=['read'])
    async def read_row(number: int, gallery: Name = None) -> Response:
        """One row."""
        served = service.gallery(gallery)

        def read() -> dict[str, Any]:
            return answering.show_row(served, served.record(number))

        return JSONResponse(await service.read(read))

    @app.get(f'{API}/classes', response_model=list[schemas.ClassCount], tags=['read'])
    async def list_classes(gallery: Name = None, where: Where = []) -> Response:
        """Classes and how many rows each has."""
        served = service.gallery(gallery)
        return JSONResponse(await service.read(lambda: rows.count_classes(served.newest(), where)))

    @app.get(f'{API}/columns', response_model=dict[str, str], tags=['read'])
    async def list_columns(gallery: Name = None) -> Response:
        """Columns that filters and sorting can name, with their types."""
        served = service.gallery(gallery)
        return JSONResponse(await service.read(lambda: served.newest().columns()))

    @app.get(f'{API}/columns/{{column}}', response_model=schemas.ColumnValues, tags=['read'])
    async def count_column(
        column: Annotated[str, PathParameter(max_length=300)],
        gallery: Name = None,
        where: Where = [],
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> Response:
        """The most frequent values of a column and how many rows have each."""
        served = service.gallery(gallery)
        return JSONResponse(await service.read(lambda: rows.count_values(served.newest(), column, where, limit)))


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


def _add_state(app: FastAPI, service: Service) -> None:
    def describe(served: ServedGallery) -> dict[str, Any]:
        state = served.newest()
        manifest, encoder = state.manifest, served.encoder
        reads_text = hasattr(encoder, 'encode_text')
        if reads_text:
            try:
                served.search.check_text()
            except UserError:
                reads_text = False
        return dict(
            name=served.name,
            rows=len(state),
            generation=manifest.generation,
            metric=manifest.metric,
            spaces=manifest.spaces,
            columns=state.columns(),
            model=hide_paths(encoder.description),
            has_regions=encoder.has_regions,
            keeps_patches=_keeps_patches(state),
            reads_text=reads_text,
        )

    @app.get(f'{API}/info', response_model=schemas.Info, tags=['state'])
    async def read_info() -> Response:
        """What is served, and the limits of requests."""
        galleries = [await service.read(describe, one) for one in service.galleries.values()]
        own = service.settings
        limits = dict(
            photos=MAX_PHOTOS,
            bytes=own.max_bytes,
            request_bytes=own.max_request_bytes,
            pixels=own.max_pixels,
            hits=schemas.MAX_HITS,
        )
        return JSONResponse(dict(version=__version__, galleries=galleries, rerank=list(METHODS), limits=limits))

    @app.get(f'{API}/healthz', tags=['state'])
    async def read_health() -> dict[str, str]:
        """Whether the server answers at all."""
        return dict(status='alive')

    @app.get(f'{API}/readyz', tags=['state'])
    async def read_readiness() -> dict[str, str]:
        """Whether models are loaded and galleries open."""
        if not service.is_ready:
            raise too_busy('the server is not ready yet')
        return dict(status='ready')

    @app.get(f'{API}/metrics', response_class=Response, tags=['state'])
    async def read_measures() -> Response:
        """What Prometheus reads."""
        for one in service.galleries.values():
            service.measures.rows.labels(one.name).set(len(await service.read(one.newest)))
        return Response(service.measures.read(), media_type=service.measures.content_type)


def _keeps_patches(state: GalleryReader) -> bool:
    return int(state.manifest.origin.get('patches') or 0) > 0


def _add_session(app: FastAPI, door: Door) -> None:
    @app.post(f'{API}/session', status_code=204, tags=['state'])
    async def begin_session(request: Request) -> Response:
        """Exchange the token, sent as ``Authorization: Bearer``, for the cookie of the page."""
        response = Response(status_code=204)
        cookie = door.begin_session(request.headers, request.client.host if request.client else '')
        if cookie is not None:
            is_secure = request.url.scheme == 'https'
            response.set_cookie(COOKIE, cookie, httponly=True, samesite='strict', secure=is_secure, path='/')
        return response


def _add_page(app: FastAPI) -> None:
    @app.get('/', include_in_schema=False)
    async def read_page() -> Response:
        return FileResponse(PAGE / 'index.html')

    @app.get('/docs', include_in_schema=False)
    async def read_docs() -> Response:
        return FileResponse(PAGE / 'docs.html')

    app.mount('/page', StaticFiles(directory=PAGE), name='page')
