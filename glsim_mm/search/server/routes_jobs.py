"""Routes that begin jobs, watch them, and end them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi import Path as PathParameter
from fastapi.responses import Response, StreamingResponse

from . import schemas_writing as schemas
from .asking import PHOTO, read_files, read_json
from .job_files import Job
from .jobs import JobKind
from .kinds_looking import AUDIT, DUPLICATES
from .kinds_measuring import CALIBRATE, EVALUATE
from .kinds_writing import ADD, REMOVE, SYNC, put_photos
from .numbers import JSONAnswer, write_json
from .problems import Problem
from .roles import API, require, rule_of
from .routes_ask import form_or_json, json_body
from .routes_writing import MAX_JSON, IfMatch, author_of, read_generation
from .service import Name, Service
from .writing import check_generation

KINDS = (
    ADD,
    REMOVE,
    SYNC,
    EVALUATE,
    CALIBRATE,
    DUPLICATES,
    AUDIT,
)
"""All kinds of jobs; each is ``POST /jobs/{name}``, and needs an entry in ``roles.RULES``."""

_MOST_PHOTOS, _SECONDS_TO_SEND = 10_000, 600.0
JobNumber = Annotated[str, PathParameter(max_length=100)]


def add_routes(app: FastAPI, service: Service) -> None:
    """Add them to an application."""
    _add_looking(app, service)
    for kind in KINDS:
        if kind is not ADD:
            _add_kind(app, service, kind)

    @app.post(
        f'{API}/jobs/{ADD.name}',
        status_code=202,
        response_model=schemas.Job,
        openapi_extra=form_or_json(ADD.body, _MOST_PHOTOS),
        tags=['jobs'],
    )
    async def add_photos(request: Request, gallery: Name = None, if_match: IfMatch = None) -> Response:
        """Add the photos of a form; their files are stored below a root of the gallery."""
        try:
            reading = read_files(request, ADD.body, service.settings, _MOST_PHOTOS)
            asked, files = await asyncio.wait_for(reading, _SECONDS_TO_SEND)
        except asyncio.TimeoutError as error:
            raise Problem(408, 'too-slow', 'the photos took too long to come: send fewer at a time') from error
        if not files:
            raise Problem(422, 'no-photo', f'send at least one file called {PHOTO}')
        photos = [(one.filename or '', one.file) for one in files]
        return await _submit(service, request, ADD, asked, gallery, if_match, photos)


def _add_kind(app: FastAPI, service: Service, kind: JobKind) -> None:
    @app.post(
        f'{API}/jobs/{kind.name}',
        status_code=202,
        response_model=schemas.Job,
        openapi_extra=json_body(kind.body, kind.needs_asking),
        summary=f'Begin: {kind.name}',
        tags=['jobs'],
    )
    async def begin_job(request: Request, gallery: Name = None, if_match: IfMatch = None) -> Response:
        asked = await read_json(request, kind.body, MAX_JSON)
        return await _submit(service, request, kind, asked, gallery, if_match)


async def _submit(
    service: Service,
    request: Request,
    kind: JobKind,
    asked: schemas.Body,
    gallery: str | None,
    if_match: str | None,
    photos: Any = None,
) -> Response:
    served = service.gallery(asked.gallery or gallery)
    by = author_of(request)
    seen = None if if_match is None else read_generation(if_match)

    def submit() -> Job:
        if seen is not None:
            check_generation(served, served.newest(now=True), seen)
        put = None if photos is None else lambda folder: put_photos(folder, photos)
        return service.jobs.submit(kind.name, served, asked, by, put)

    job = await service.read(submit)
    return JSONAnswer(job.shown(), 202, {'location': f'{service.settings.root_path}{API}/jobs/{job.id}'})


def _add_looking(app: FastAPI, service: Service) -> None:
    @app.get(f'{API}/jobs', response_model=schemas.JobList, tags=['jobs'])
    async def list_jobs(gallery: Name = None) -> Response:
        """The last jobs, the newest first. Lists in what came out of them are left out here."""
        name = None if gallery is None else service.gallery(gallery).name
        found = await service.read(service.jobs.listed, name)
        for one in found:
            one.result = {name: value for name, value in one.result.items() if not isinstance(value, (list, dict))}
        return JSONAnswer(dict(jobs=[one.shown() for one in found]))

    @app.get(f'{API}/jobs/{{number}}', response_model=schemas.Job, tags=['jobs'])
    async def read_job(number: JobNumber) -> Response:
        """A job as it is now."""
        return JSONAnswer((await service.read(service.jobs.get, number)).shown())

    @app.get(f'{API}/jobs/{{number}}/events', response_class=StreamingResponse, tags=['jobs'])
    async def watch_job(number: JobNumber) -> Response:
        """Server-sent events called ``job``, the job as it is now and after each change; they end when it has ended."""
        await service.read(service.jobs.get, number)

        async def events() -> AsyncIterator[str]:
            async for job in service.jobs.watch(number):
                yield ': still here\n\n' if job is None else f'event: job\ndata: {write_json(job.shown()).decode()}\n\n'

        return StreamingResponse(events(), media_type='text/event-stream', headers={'x-accel-buffering': 'no'})

    @app.post(f'{API}/jobs/{{number}}/cancel', response_model=schemas.Job, tags=['jobs'])
    async def cancel_job(request: Request, number: JobNumber) -> Response:
        """Stop a job; what it has written stays."""
        await _check_kind(service, request, number)
        return JSONAnswer((await service.read(service.jobs.cancel, number)).shown())

    @app.post(f'{API}/jobs/{{number}}/resume', status_code=202, response_model=schemas.Job, tags=['jobs'])
    async def resume_job(request: Request, number: JobNumber) -> Response:
        """Let a job go on that was interrupted or cancelled, or has failed."""
        await _check_kind(service, request, number)
        return JSONAnswer((await service.read(service.jobs.resume, number)).shown(), 202)


async def _check_kind(service: Service, request: Request, number: str) -> None:
    """Refuse what is not allowed to those who may not begin such a job."""
    job = await service.read(service.jobs.get, number)
    rule = rule_of('POST', f'{API}/jobs/{job.kind}')
    if rule is None or job.kind not in service.jobs.kinds:
        raise Problem(409, 'other-version', f'this server knows no jobs of the kind {job.kind}')
    require(request, rule)
