"""From a request to queries: its form is read, its photos are decoded in workers, and the model sees pixels alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from retrieval.recognition.places import PLACE_COLUMNS

from ...images.exif import read_exif
from ...images.photos import ImageItem, UnreadableImageError
from ...images.preparing import Prepared
from ..base_encoder import BaseEncoder
from ..encoded import Encoded, EncodingError, join_encoded
from .batching import Batcher
from .problems import Problem, aborted, hide_paths, too_busy
from .settings import MAX_PHOTOS, Settings
from .uploads import Upload, read_upload

PHOTO, FORM = 'photo', 'request'
ALL_READ = 'glsim_mm.all_read'
"""Of a request's scope: an event that is set when all of its content has been received."""

_JSON_BYTES = 1 << 20
Asked = TypeVar('Asked', bound=BaseModel)
Result = TypeVar('Result')


class PhotoJob(NamedTuple):
    """A photo that is prepared for the model."""

    item: ImageItem
    prepared: Prepared
    with_patches: bool


def encode_batch(encoder: BaseEncoder, jobs: Sequence[PhotoJob]) -> list[Encoded]:
    """Each photo's part of what the model makes of all; a photo that it cannot encode is among the errors of its part.

    Where only some need their patches, these are a pass of their own.
    """
    answers: list[Encoded | None] = [None] * len(jobs)
    for with_patches in (False, True):
        places = [place for place, job in enumerate(jobs) if job.with_patches is with_patches]
        if not places:
            continue
        model = encoder.with_patches() if with_patches and not encoder.keep_patches else encoder
        items = [jobs[place].item for place in places]
        prepared = [jobs[place].prepared._replace(position=row) for row, place in enumerate(places)]
        encoded = model.encode_prepared(prepared, items)
        rows = {position: row for row, position in enumerate(encoded.positions.tolist())}
        for number, place in enumerate(places):
            found = [rows[number]] if number in rows else []
            one = encoded.rows(np.array(found, dtype=np.intp))
            answers[place] = replace(one, errors=[error for error in encoded.errors if error.position == number])
    return [one for one in answers if one is not None]


async def read_form(request: Request, model: type[Asked], settings: Settings) -> tuple[Asked, list[bytes]]:
    """What a request asks, and the files of its photos, a few.

    Raises:
        Problem: As :func:`read_files`.
    """
    asked, files = await read_files(request, model, settings, MAX_PHOTOS)
    return asked, [await one.read() for one in files]


async def read_files(
    request: Request, model: type[Asked], settings: Settings, most: int
) -> tuple[Asked, list[UploadFile]]:
    """What a request asks, and the open files of its photos, at most so many.

    It is JSON, or a form with files called ``photo`` and the JSON as its field ``request``.

    Raises:
        Problem: If it is neither, or has too many photos.
    """
    kind = _content_type(request)
    if kind == 'application/json':
        return await read_json(request, model), []
    if kind != 'multipart/form-data':
        raise Problem(415, 'wrong-type', 'send multipart/form-data with files called photo, or application/json')
    parser = MultiPartParser(request.headers, request.stream(), max_files=most, max_fields=1, max_part_size=_JSON_BYTES)
    parser.spool_max_size = settings.max_request_bytes  # photos of requests never go to the disk by themselves
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Problem(422, 'wrong-form', f'the form cannot be read: {error.message}') from error
    text, photos = '{}', []
    for name, value in form.multi_items():
        if name == PHOTO and isinstance(value, UploadFile):
            photos.append(value)
        elif name == FORM and isinstance(value, str):
            text = value
        else:
            raise Problem(422, 'wrong-form', f'a form has files called {PHOTO} and a field called {FORM} alone')
    return parse_json(text.encode(), model), photos


async def read_json(request: Request, model: type[Asked], limit: int = _JSON_BYTES) -> Asked:
    """What a request of JSON alone asks; no content stands for ``{}``.

    Raises:
        Problem: If it is something else, or too long.
    """
    body = await request.body()
    if body and _content_type(request) != 'application/json':
        raise Problem(415, 'wrong-type', 'send application/json')
    if len(body) > limit:
        raise Problem(413, 'too-long', f'the JSON of this request has at most {limit >> 20} MiB')
    return parse_json(body, model)


def _content_type(request: Request) -> str:
    return request.headers.get('content-type', '').partition(';')[0].strip().lower()


def parse_json(content: bytes, model: type[Asked]) -> Asked:
    """A request of JSON.

    Raises:
        Problem: With the place and the reason of each mistake.
    """
    try:
        return model.model_validate_json(content or b'{}')
    except ValidationError as error:
        faults = json.loads(error.json(include_url=False, include_context=False, include_input=False))
        found = [dict(at='.'.join(map(str, one['loc'])), detail=one['msg']) for one in faults]
        said = '; '.join(f'{one["at"]}: {one["detail"]}'.removeprefix(': ') for one in found[:3])
        raise Problem(422, 'wrong-request', said, errors=found) from error


class Photographer:
    """Decodes photos in threads of its own, and has them encoded.

    Args:
        settings: Limits.
        workers: Threads.
        reads_places: Whether EXIF data is to be looked at for where and when photos were taken.
    """

    def __init__(self, settings: Settings, workers: int, reads_places: bool = False) -> None:
        self._settings, self._reads_places = settings, reads_places
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix='photos')

    async def run(self, function: Any, *arguments: Any) -> Any:
        """Call a function in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def encode(
        self,
        encoder: BaseEncoder,
        batcher: Batcher[Any, Any],
        photos: Sequence[bytes],
        boxes: Sequence[Sequence[float] | None],
        with_patches: bool,
    ) -> Encoded:
        """Encode the photos of one request; those that cannot be used are among the errors.

        Raises:
            Problem: If there is none that can be used, or too many wait for the model.
        """
        if len(boxes) not in (0, len(photos)):
            raise Problem(422, 'wrong-boxes', f'there are {len(boxes)} boxes for {len(photos)} photos: one for each')
        own = [*boxes] if boxes else [None] * len(photos)
        made = await asyncio.gather(
            *(self.run(self._prepare, encoder, content, box, with_patches) for content, box in zip(photos, own))
        )
        jobs = {place: one for place, one in enumerate(made) if isinstance(one, PhotoJob)}
        errors = [EncodingError(place, '', one) for place, one in enumerate(made) if isinstance(one, str)]
        parts = await batcher.submit(list(jobs.values())) if jobs else []
        good = []
        for place, part in zip(jobs, parts):
            errors += [error._replace(position=place) for error in part.errors]
            if len(part):
                good.append(replace(part, positions=part.positions * 0 + place, errors=[]))
        if not good:
            reasons = [dict(photo=error.position, detail=hide_paths(error.reason)) for error in sorted(errors)]
            raise Problem(422, 'no-photo', hide_paths(min(errors).reason), errors=reasons)
        return replace(join_encoded(good), errors=sorted(errors))

    def _prepare(
        self, encoder: BaseEncoder, content: bytes, box: Sequence[float] | None, with_patches: bool
    ) -> PhotoJob | str:
        """A photo for the model, or why it cannot be used; a part of the photo that does not exist is refused."""
        try:
            upload: Upload = read_upload(content, self._settings, encoder.pipeline.background)
        except UnreadableImageError as error:
            return str(error)
        item = ImageItem(content=upload.pixels, box=box)
        prepared = encoder.prepare([item], 0)
        if prepared.error:
            return prepared.error
        told = read_exif(ImageItem(content=content)).values if self._reads_places else {}
        place = {name: told[name] for name in PLACE_COLUMNS if name in told}
        job = PhotoJob(ImageItem(metadata=place), prepared._replace(content_hash=upload.content_hash), with_patches)
        return job  # without the pixels, of which a request may have many


async def unless_aborted(request: Request, work: Coroutine[Any, Any, Result], seconds: float) -> Result:
    """What a request is answered with, unless its sender goes away before, or it takes too long.

    Only when the work has read all of the request, which the scope's :data:`ALL_READ` tells, its sender is watched:
    of two that receive at a time, one would get a part of the content that the other waits for.

    Raises:
        Problem: Then.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_until_gone(request))
    try:
        await asyncio.wait({task, watch}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if watch.done():
            raise aborted()
        raise too_busy(f'this took more than {seconds:.0f} s: try again later', 10)
    finally:
        task.cancel()
        watch.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def _until_gone(request: Request) -> None:
    await request.scope[ALL_READ].wait()
    while (await request.receive())['type'] != 'http.disconnect':
        pass
