"""Routes of KServe's v2 protocol, the Open Inference Protocol: the model for other servers, without galleries."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi import Path as PathParameter
from fastapi.responses import JSONResponse, Response

from ...exported.open_inference import BINARY, BYTES, LENGTH_HEADER
from ...exported.triton import MODEL_NAME
from ...version import __version__
from .inference import VERSION, ServedModel, refuse, write_answer
from .problems import too_busy
from .roles import INFERENCE
from .service import Service

_MODEL = f'{INFERENCE}/models/{{name}}'
_VERSION = f'{_MODEL}/versions/{{version}}'
_CONTENT = {kind: dict(schema=dict(type=what)) for kind, what in (('application/json', 'object'), (BYTES, 'string'))}
_BODY = dict(requestBody=dict(required=True, content=_CONTENT))
ModelName = Annotated[str, PathParameter(max_length=300)]


def add_routes(app: FastAPI, service: Service) -> None:
    """Add them to an application."""
    models: dict[int, ServedModel] = {}

    def find(request: Request, name: str) -> tuple[ServedModel, Any]:
        """A model by the name of a gallery that it has made; ``glsim`` is that of the first."""
        served = service.galleries.get(name) or (service.gallery(None) if name == MODEL_NAME else None)
        if served is None or request.path_params.get('version', VERSION) != VERSION:
            raise refuse(f'there is no such model, but {", ".join({MODEL_NAME: 0, **service.galleries})}', 404)
        batcher = service.batcher_of(served)
        key = id(served.encoder)
        if key not in models:
            models[key] = ServedModel(served.encoder, service.settings, batcher.call)
        return models[key], batcher

    @app.get(INFERENCE, tags=['model'])
    async def read_server() -> dict[str, Any]:
        """Name, version and extensions of the server."""
        return dict(name='glsim serve', version=__version__, extensions=[BINARY])

    @app.get(f'{INFERENCE}/health/live', tags=['model'])
    async def read_liveness() -> dict[str, bool]:
        """Whether the server answers at all."""
        return dict(live=True)

    @app.get(f'{INFERENCE}/health/ready', tags=['model'])
    async def read_readiness() -> dict[str, bool]:
        """Whether all models are loaded."""
        if not service.is_ready:
            raise too_busy('the server is not ready yet')
        return dict(ready=True)

    @app.get(_MODEL, tags=['model'])
    @app.get(_VERSION, include_in_schema=False)
    async def read_model(request: Request, name: ModelName) -> Response:
        """Inputs and outputs of a model; its parameter ``glsim_mm`` says how photos are prepared for it."""
        model, _ = find(request, name)
        return JSONResponse(await model.describe(name))

    @app.get(f'{_MODEL}/ready', tags=['model'])
    @app.get(f'{_VERSION}/ready', include_in_schema=False)
    async def read_model_readiness(request: Request, name: ModelName) -> dict[str, Any]:
        """Whether a model can be asked."""
        find(request, name)
        return dict(name=name, ready=True)

    @app.post(f'{_MODEL}/infer', tags=['model'], openapi_extra=_BODY)
    @app.post(f'{_VERSION}/infer', include_in_schema=False)
    async def infer_model(request: Request, name: ModelName) -> Response:
        """What a model makes of network inputs, ``pixels`` (B, 3, h, w), RGB values of 0 to 255.

        Tensors are numbers of JSON, or, with the header ``Inference-Header-Content-Length``, bytes behind it.
        """
        model, batcher = find(request, name)

        async def work() -> Response:
            asked, jobs = await model.read(await request.body(), request.headers.get(LENGTH_HEADER))
            rows = await batcher.submit(jobs)
            content, headers = await service.read(write_answer, name, asked, rows)
            return Response(content, headers=headers)

        answer: Response = await service.attend(request, work())
        return answer
