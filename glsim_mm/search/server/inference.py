"""The model alone, for other servers that prepare photos themselves: network inputs in, what it makes of them out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...errors import GLSimError
from ...exported.onnx_model import METADATA_KEY
from ...exported.open_inference import Message, ProtocolError, read_message, wants_binary, write_message
from ...exported.triton import INPUT, MAX_BATCH
from ..base_encoder import BaseEncoder
from ..encoded import Encoded
from .asking import PhotoJob, encode_batch
from .problems import Problem
from .settings import Settings

VERSION = '1'
_ROOM = 1 << 20  # of a request, for what is no number
_TYPES = (np.dtype(np.uint8), np.dtype(np.float32))


class PixelJob(NamedTuple):
    """A network input (3, h, w), RGB values of 0 to 255."""

    pixels: np.ndarray


Job = PhotoJob | PixelJob
Found = Encoded | dict[str, np.ndarray]
Call = Callable[..., Awaitable[Any]]


def compute_batch(encoder: BaseEncoder, jobs: Sequence[Job]) -> list[Found]:
    """What the model makes of each job: photos that the server has prepared in one pass, network inputs in another."""
    answers: list[Found | None] = [None] * len(jobs)
    photos = {place: job for place, job in enumerate(jobs) if isinstance(job, PhotoJob)}
    pixels = {place: job for place, job in enumerate(jobs) if isinstance(job, PixelJob)}
    for place, encoded in zip(photos, encode_batch(encoder, list(photos.values()))):
        answers[place] = encoded
    for shape in dict.fromkeys(job.pixels.shape for job in pixels.values()):
        places = [place for place, job in pixels.items() if job.pixels.shape == shape]
        outputs = infer(encoder, np.stack([pixels[place].pixels for place in places]))
        for row, place in enumerate(places):
            answers[place] = {name: values[row] for name, values in outputs.items()}
    return [one for one in answers if one is not None]


def infer(encoder: BaseEncoder, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """All that an encoder can give for network inputs, patches included."""
    try:
        model = encoder if encoder.keep_patches or not encoder.has_regions else encoder.with_patches()
    except GLSimError:  # it keeps none
        model = encoder
    return model.infer(pixels)


class ServedModel:
    """A model as the protocol shows it.

    Args:
        encoder: Runs it.
        settings: Limits.
        call: Calls something in the thread of the model.
    """

    def __init__(self, encoder: BaseEncoder, settings: Settings, call: Call) -> None:
        self._encoder, self._call = encoder, call
        self._info = encoder.describe()
        self._size = tuple(encoder.pipeline(np.full((256, 256, 3), 127, np.uint8)).shape[-2:])
        bytes_of_one = 3 * self._size[0] * self._size[1] * 4
        room = (settings.max_request_bytes - _ROOM) // bytes_of_one
        self._most = max(1, min(MAX_BATCH, settings.queue, room))
        self._shapes: dict[str, tuple[int, ...]] | None = None
        self._lock = asyncio.Lock()

    async def describe(self, name: str) -> Message:
        """Its metadata; the model runs once, before the first is told."""
        shapes = await self._read_shapes()
        sides = self._size if self._info is not None else (-1, -1)  # whose pipeline makes inputs of many sizes
        parameters: Message = dict(max_batch_size=self._most)
        if self._info is not None:
            parameters[METADATA_KEY] = self._info.to_json()
        return dict(
            name=name,
            versions=[VERSION],
            platform='glsim_mm',
            inputs=[dict(name=INPUT, datatype='UINT8', shape=[-1, 3, *sides])],
            outputs=[dict(name=one, datatype='FP32', shape=[-1, *shape]) for one, shape in shapes.items()],
            parameters=parameters,
        )

    async def read(self, body: bytes, header_length: str | None) -> tuple[Message, list[PixelJob]]:
        """A request, checked.

        Raises:
            Problem: If something in it is wrong.
        """
        shapes = await self._read_shapes()
        try:
            return await asyncio.to_thread(self._read, body, header_length, set(shapes))
        except ProtocolError as error:
            raise refuse(str(error)) from error

    async def _read_shapes(self) -> dict[str, tuple[int, ...]]:
        async with self._lock:
            if self._shapes is None:
                grey = np.full((1, 3, *self._size), 127, np.uint8)
                outputs = await self._call(infer, self._encoder, grey)
                self._shapes = {name: values.shape[1:] for name, values in outputs.items()}
            return self._shapes

    def _read(self, body: bytes, header_length: str | None, known: set[str]) -> tuple[Message, list[PixelJob]]:
        message, tensors = read_message(body, header_length, 'inputs')
        if set(tensors) != {INPUT}:
            raise ProtocolError(f'the only input is called {INPUT}')
        pixels = tensors[INPUT]
        height, width = self._size
        sides = pixels.shape[2:] if pixels.ndim == 4 and pixels.shape[1] == 3 else ()
        if len(sides) != 2 or min(sides) < 1 or (self._info is not None and sides != self._size):
            raise ProtocolError(f'{INPUT} must be of shape (B, 3, {height}, {width}), not {pixels.shape}')
        if not 1 <= len(pixels) <= self._most:
            raise ProtocolError(f'a request has 1 to {self._most} images, not {len(pixels)}')
        if pixels.dtype not in _TYPES or not np.isfinite(pixels).all():
            raise ProtocolError(f'{INPUT} must be UINT8 or FP32, RGB values of 0 to 255')
        asked = message.get('outputs', [])
        if not isinstance(asked, list) or not all(isinstance(one, dict) and one.get('name') in known for one in asked):
            raise ProtocolError(f'outputs must be some of {", ".join(sorted(known))}')
        if not isinstance(message.get('id', ''), str):
            raise ProtocolError('the id must be a text')
        return message, [PixelJob(one) for one in pixels]


def write_answer(name: str, asked: Message, rows: Sequence[dict[str, np.ndarray]]) -> tuple[bytes, dict[str, str]]:
    """The content and headers of an answer: the outputs that were asked for, all by default."""
    names = [one['name'] for one in asked.get('outputs', [])] or list(rows[0])
    outputs = {one: np.stack([row[one] for row in rows]) for one in dict.fromkeys(names)}
    message: Message = dict(model_name=name, model_version=VERSION)
    if asked.get('id'):
        message['id'] = asked['id'][:300]
    return write_message(message, 'outputs', outputs, [one for one in outputs if wants_binary(asked, one)])


def refuse(detail: str, status: int = 400, kind: str = 'wrong-request') -> Problem:
    """A problem that also says ``error``, as the protocol wants it."""
    return Problem(status, kind, detail, error=detail)
