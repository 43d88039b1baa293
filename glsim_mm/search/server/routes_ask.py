"""Routes that ask with photos, a row or a text."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from . import answering, schemas
from .asking import FORM, PHOTO
from .roles import API
from .service import Service
from .settings import MAX_PHOTOS


def add_routes(app: FastAPI, service: Service) -> None:
    """Add them to an application."""

    @app.post(
        f'{API}/search',
        response_model=schemas.SearchAnswer,
        openapi_extra=form_or_json(schemas.SearchRequest),
        tags=['ask'],
    )
    async def search_gallery(request: Request) -> Response:
        """Search with up to five photos of one individual, with a row of the gallery, or with a text."""
        return JSONResponse(await service.ask(request, schemas.SearchRequest, answering.search))

    @app.post(
        f'{API}/identify',
        response_model=schemas.IdentifyAnswer,
        openapi_extra=form_or_json(schemas.IdentifyRequest),
        tags=['ask'],
    )
    async def identify_photos(request: Request) -> Response:
        """Name the class that the nearest photos vote for."""
        return JSONResponse(await service.ask(request, schemas.IdentifyRequest, answering.identify))

    @app.post(
        f'{API}/explain',
        response_model=schemas.ExplainAnswer,
        openapi_extra=form_or_json(schemas.ExplainRequest),
        tags=['ask'],
    )
    async def explain_hit(request: Request) -> Response:
        """Tell which patches of a hit are like which of the query."""
        return JSONResponse(await service.ask(request, schemas.ExplainRequest, answering.explain, patches=True))


def json_body(kind: type[BaseModel], is_required: bool = True) -> dict[str, Any]:
    """What OpenAPI says of a request that is JSON."""
    content = {'application/json': dict(schema=kind.model_json_schema())}
    return dict(requestBody=dict(required=is_required, content=content))


def form_or_json(kind: type[schemas.Asked]) -> dict[str, Any]:
    """What OpenAPI says of a request that is JSON, or a form with photos and JSON."""
    schema = kind.model_json_schema()
    photos = dict(type='array', maxItems=MAX_PHOTOS, items=dict(type='string', format='binary'))
    form = dict(type='object', properties={PHOTO: photos, FORM: dict(schema, description='this, as JSON')})
    content = {'multipart/form-data': dict(schema=form), 'application/json': dict(schema=schema)}
    return dict(requestBody=dict(required=True, content=content))
