"""The route that gives rows to take along, as files of several kinds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from io import BytesIO
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from PIL import Image
from pydantic import Field

from retrieval.gallery import GalleryReader, Record

from ...visualization import FoundImage
from ..result_pages import found_image
from ..row_exports import COCO, CSV, HTML, JSON, KINDS, TABLE, export_page, export_rows
from .asking import read_json
from .galleries import ServedGallery
from .numbers import RowId
from .photos import SIDES, Thumbnails
from .problems import Problem
from .roles import API
from .routes_ask import json_body
from .routes_writing import MAX_JSON
from .schemas_writing import MAX_ROWS, Body, Condition
from .service import Name, Service
from .writing import chosen_rows

_TYPES = {CSV: 'text/csv', TABLE: 'text/csv', JSON: 'application/json', COCO: 'application/json', HTML: 'text/html'}
_BYTES = 1 << 16


class Export(Body):
    """Which rows, and as what; without ids and where, all rows."""

    format: Literal['csv', 'json', 'html', 'coco', 'table'] = Field(
        description='table is what TableDataset trains on; html holds the photos, of 10,000 rows at most'
    )
    ids: Annotated[list[RowId], Field(min_length=1, max_length=MAX_ROWS)] | None = Field(None, description='rows')
    where: list[Condition] = Field([], max_length=50, description='conditions, in place of ids')


def add_routes(app: FastAPI, service: Service) -> None:
    """Add it to an application."""

    @app.post(
        f'{API}/export',
        response_class=Response,
        responses={200: dict(content={kind: {} for kind in dict.fromkeys(_TYPES.values())}, description='a file')},
        openapi_extra=json_body(Export),
        tags=['read'],
    )
    async def export(request: Request, gallery: Name = None) -> Response:
        """Rows as a file: a spreadsheet, JSON, a page with the photos, COCO's format, or a table to train on."""
        asked = await read_json(request, Export, MAX_JSON)
        if asked.ids is not None and asked.where:
            raise Problem(422, 'wrong-request', 'say which rows: by ids, or by where')
        served = service.gallery(asked.gallery or gallery)

        def choose() -> tuple[GalleryReader, np.ndarray]:
            state = served.newest()
            return state, chosen_rows(state, asked.ids, asked.where)

        state, ids = await service.read(choose)
        headers = {'content-disposition': f'attachment; filename="{_file_name(served.name, asked.format)}"'}
        kind = f'{_TYPES[asked.format]}; charset=utf-8'
        if asked.format == HTML:
            photo = partial(_photo, served, service.thumbnails)
            pieces = await service.read(export_page, state, ids, photo)
        else:
            pieces = _pieces(export_rows(state, ids, asked.format))
        return StreamingResponse(pieces, headers=headers, media_type=kind)


def _file_name(gallery: str, kind: str) -> str:
    assert kind in KINDS
    ending = {COCO: '-coco.json', TABLE: '-table.csv'}.get(kind, f'.{kind}')
    return re.sub(r'[^A-Za-z0-9._-]+', '_', gallery)[:100] + ending


def _pieces(texts: Iterator[str]) -> Iterator[bytes]:
    """Larger pieces, each of which is sent by itself."""
    waiting = bytearray()
    for text in texts:
        waiting += text.encode('utf-8', 'backslashreplace')
        if len(waiting) >= _BYTES:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting)


def _photo(served: ServedGallery, thumbnails: Thumbnails, record: Record) -> FoundImage:
    """A row as a page shows it, whose photo is read only if it lies below a root."""
    if record.image_size is None:
        record = replace(record, box=None, map_area=None)
    found = found_image(replace(record, similarity_map=None), served.roots())
    return replace(found, image=partial(_thumbnail, served, thumbnails, record))


def _thumbnail(served: ServedGallery, thumbnails: Thumbnails, record: Record) -> Any:
    try:
        _, content = thumbnails.make(served.photo_file(record), SIDES[0])
    except Problem:
        return None
    with Image.open(BytesIO(content or b'')) as image:
        return np.asarray(image.convert('RGB'))
