"""The application: routes of the API and of the page over galleries that are open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from retrieval.errors import RetrievalError, UserError

from ...http_client import ServerAwayError
from ...images.decoding import LOGGER
from ...version import __version__
from . import (
    routes_ask,
    routes_export,
    routes_inference,
    routes_jobs,
    routes_read,
    routes_review,
    routes_state,
    routes_writing,
)
from .galleries import ServedGallery
from .guard import Guard
from .measures import Measures
from .problems import Problem, aborted, hide_paths, too_busy
from .roles import API, check_role
from .service import Service
from .settings import Settings

ROUTES = (
    routes_ask,
    routes_read,
    routes_writing,
    routes_review,
    routes_export,
    routes_jobs,
    routes_state,
    routes_inference,
)
"""Modules with a function ``add_routes(app, service)``, one for each group of routes."""

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: dict(description=HTTPStatus(status).phrase, content={'application/problem+json': {}})
    for status in (401, 403, 404, 409, 412, 413, 415, 422, 428, 429, 502, 503)
}


def create_app(
    galleries: Sequence[ServedGallery], settings: Settings, cache: Path | None = None, state: Path | None = None
) -> FastAPI:
    """The application, ready to be run by an ASGI server.

    Args:
        galleries: At least one, open for reading, with the models that made them.
        settings: Names, token and limits.
        cache: Folder of thumbnails; None for the usual one.
        state: Folder of what is remembered of jobs; None for the usual one.

    Raises:
        UserError: If it would be open to other machines without a token.
    """
    settings.check()
    if not galleries:
        raise RetrievalError('there is no gallery to serve: name at least one')
    service = Service(galleries, settings, cache, state, routes_jobs.KINDS)

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
        dependencies=[Depends(check_role)],
    )
    app.state.service = service
    _add_errors(app, service.measures)
    for module in ROUTES:
        module.add_routes(app, service)
    app.add_middleware(Guard, settings=settings, measures=service.measures, door=service.door)
    return app


def _add_errors(app: FastAPI, measures: Measures) -> None:
    async def refuse(request: Request, problem: Exception) -> Response:
        if not isinstance(problem, Problem):
            problem = Problem(500, 'bug', 'this should not have happened; the log of the server says more')
        measures.rejects.labels(problem.kind).inc()
        return problem.response()

    async def refuse_mistake(request: Request, error: Exception) -> Response:
        return await refuse(request, Problem(422, 'wrong-request', hide_paths(str(error))))

    async def refuse_for_now(request: Request, error: Exception) -> Response:
        LOGGER.error('%s', error)
        return await refuse(request, too_busy('the server that runs the model is away: try again in a moment', 5))

    async def refuse_half(request: Request, error: Exception) -> Response:
        return await refuse(request, aborted())

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
    app.add_exception_handler(ServerAwayError, refuse_for_now)
    app.add_exception_handler(ClientDisconnect, refuse_half)
    app.add_exception_handler(RequestValidationError, refuse_values)
    app.add_exception_handler(HTTPException, refuse_route)
    app.add_exception_handler(Exception, refuse)
