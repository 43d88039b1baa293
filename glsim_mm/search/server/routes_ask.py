"""Routes that ask with photos, a row or a text."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from pydantic import BaseModel

from . import answering, comparing, schemas
from .asking import FORM, PHOTO
from .numbers import JSONAnswer
from .roles import API
from .service import Service
from .settings import MAX_PHOTOS


def add_routes(app: FastAPI, service: Service) -> None:
    """Add them to an application."""

    def question(path: str, asked: type[BaseModel], answered: type[BaseModel]) -> Any:
        body = form_or_json(asked)
        return app.post(f'{API}/{path}', response_model=answered, openapi_extra=body, tags=['ask'])

    @question('search', schemas.SearchRequest, schemas.SearchAnswer)
    async def search_gallery(request: Request) -> Response:
        """Search with up to five photos of one individual, with a row of the gallery, or with a text."""
        return JSONAnswer(await service.ask(request, schemas.SearchRequest, answering.search))

    @question('identify', schemas.IdentifyRequest, schemas.IdentifyAnswer)
    async def identify_photos(request: Request) -> Response:
        """Name the class that the nearest photos vote for."""
        return JSONAnswer(await service.ask(request, schemas.IdentifyRequest, answering.identify))

    @question('explain', schemas.ExplainRequest, schemas.ExplainAnswer)
    async def explain_hit(request: Request) -> Response:
        """Tell which patches of a hit are like which of the query."""
        return JSONAnswer(await service.ask(request, schemas.ExplainRequest, answering.explain, patches=True))

    @question('compare', schemas.CompareRequest, schemas.CompareAnswer)
    async def compare_searches(request: Request) -> Response:
        """Search two galleries, or two spaces of one, with the same photos, row or text."""
        return JSONAnswer(await service.attend(request, comparing.compare(service, request)))


def json_body(kind: type[BaseModel], is_required: bool = True) -> dict[str, Any]:
    """What OpenAPI says of a request that is JSON."""
    content = {'application/json': dict(schema=schema_of(kind))}
    return dict(requestBody=dict(required=is_required, content=content))


def form_or_json(kind: type[BaseModel], most: int = MAX_PHOTOS) -> dict[str, Any]:
    """What OpenAPI says of a request that is JSON, or a form with photos and JSON."""
    schema = schema_of(kind)
    photos = dict(type='array', maxItems=most, items=dict(type='string', format='binary'))
    form = dict(type='object', properties={PHOTO: photos, FORM: dict(schema, description='this, as JSON')})
    content = {'multipart/form-data': dict(schema=form), 'application/json': dict(schema=schema)}
    return dict(requestBody=dict(required=True, content=content))


def schema_of(kind: type[BaseModel]) -> dict[str, Any]:
    """JSON schema of a request, whole in itself: OpenAPI has no place for definitions inside of a schema."""
    schema = kind.model_json_schema()
    definitions = schema.pop('$defs', {})

    def put_in(part: Any) -> Any:
        if isinstance(part, dict):
            name = str(part.get('$ref', '')).removeprefix('#/$defs/')
            return put_in(definitions[name]) if name in definitions else {key: put_in(one) for key, one in part.items()}
        return [put_in(one) for one in part] if isinstance(part, list) else part

    found: dict[str, Any] = put_in(schema)
    return found
