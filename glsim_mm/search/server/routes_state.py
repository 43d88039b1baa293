"""Routes that tell the state of the server, and the page with its session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from retrieval.errors import UserError
from retrieval.gallery import GalleryReader
from retrieval.ranking import METHODS

from ...version import __version__
from . import schemas
from .answering import recognizer_of
from .galleries import ServedGallery
from .numbers import JSONAnswer
from .problems import hide_paths, too_busy
from .roles import API, visitor_of
from .service import Service
from .settings import MAX_PHOTOS

PAGE = Path(__file__).parent / 'page'


def add_routes(app: FastAPI, service: Service) -> None:
    """Add them to an application."""
    _add_state(app, service)
    _add_session(app, service)
    _add_page(app)


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
            batch=encoder.usual_batch,
            has_regions=encoder.has_regions,
            keeps_patches=_keeps_patches(state),
            reads_text=reads_text,
            writable=service.settings.writable and not served.is_cache,
            has_prior=served.prior is not None,
            has_recogniser=recognizer_of(served, state).settings.is_tuned,
        )

    @app.get(f'{API}/info', response_model=schemas.Info, tags=['state'])
    async def read_info(request: Request) -> Response:
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
        told = dict(galleries=galleries, rerank=list(METHODS), addresses=list(own.allow_urls), limits=limits)
        return JSONAnswer(dict(version=__version__, role=visitor_of(request).role, **told))

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


def _add_session(app: FastAPI, service: Service) -> None:
    @app.post(f'{API}/session', status_code=204, tags=['state'])
    async def begin_session(request: Request) -> Response:
        """Exchange the token, sent as ``Authorization: Bearer``, for the cookie of the page."""
        response = Response(status_code=204)
        cookie = service.door.begin_session(request.headers, request.client.host if request.client else '')
        if cookie is not None:
            is_secure = request.url.scheme == 'https'
            response.set_cookie(
                service.door.cookie,
                cookie,
                httponly=True,
                samesite='strict',
                secure=is_secure,
                path=service.settings.root_path or '/',
            )
        return response


def _add_page(app: FastAPI) -> None:
    @app.get('/', include_in_schema=False)
    async def read_page() -> Response:
        return FileResponse(PAGE / 'index.html')

    @app.get('/docs', include_in_schema=False)
    async def read_docs() -> Response:
        return FileResponse(PAGE / 'docs.html')

    app.mount('/page', StaticFiles(directory=PAGE), name='page')
