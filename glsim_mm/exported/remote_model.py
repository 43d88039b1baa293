"""Exported models that another server runs: Triton, KServe, MLServer, OpenVINO Model Server, or glsim serve."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from ..errors import GLSimError
from ..http_client import HttpClient, RefusedError
from .onnx_model import METADATA_KEY, ExportedInfo, ExportedModel
from .open_inference import BINARY, LENGTH_HEADER, ProtocolError, read_message, write_message
from .triton import MAX_BATCH, MODEL_NAME

_SENT = {'FP32': np.float32, 'UINT8': np.uint8}
_USUAL_BATCH = 16
_REQUEST = 60 << 20  # bytes, of 64 MiB that Triton takes by default


class RemoteModel:
    """Computes what an exported model computes, where a server of the Open Inference Protocol runs it.

    It takes the place of :class:`ExportedModel`; threads may share it::

        model = RemoteModel('http://gpu.example:8000/v2/models/glsim')
        print(model(pixels)['embedding'].shape, model.info.classes)

    Args:
        url: Of the model, ``http(s)://HOST[:PORT][/PREFIX]/v2/models/NAME[/versions/V]``, or of the server, whose model
            is then called ``glsim``.
        file: The ``.onnx`` file that the server runs, of which only the description is read. Servers that were set up
            with ``glsim export --triton``, and glsim serve, tell it themselves.
        token: Sent as ``Authorization: Bearer``.
        timeout: Seconds to wait for an answer.
        patience: Seconds to go on asking a server that says that it is busy.

    Attributes:
        info: What is known of the model; its outputs are those that the server has.
        path: The address.
        usual_batch: Images of a request; more are sent in several.

    Raises:
        ServerAwayError: If the server cannot be reached.
        GLSimError: If it has no such model, does not describe it, or runs another one.
    """

    def __init__(
        self,
        url: str,
        file: str | Path | None = None,
        token: str | None = None,
        timeout: float = 30.0,
        patience: float = 30.0,
    ) -> None:
        base, name, version = _split(url)
        self.path = f'{base}/v2/models/{name}{version}'
        self._client = HttpClient(base, token, timeout, patience)
        self._place = f'/v2/models/{quote(name, safe="")}{version}'
        try:
            described = self._ask_json(self._place)
        except RefusedError as error:
            if error.status != 404:
                raise
            raise GLSimError(
                f'{base} has no model {name}: give its address with the name, as {base}/v2/models/NAME'
            ) from error
        self._is_binary = self._knows_binary()
        parameters = self._parameters(described)
        text = parameters.get(METADATA_KEY)
        if file is not None:
            info = ExportedModel(file, device='cpu').info
        elif isinstance(text, str):
            info = ExportedInfo.from_json(text, self.path)
        else:
            raise GLSimError(
                f'{self.path} does not tell how photos are prepared for it: give the .onnx file that it runs, too, by '
                '--model (in Python, file)'
            )
        self._input, self._datatype = self._check_input(described, info)
        self.info = replace(info, outputs=[one['name'] for one in _tensors(described, 'outputs', self.path)])
        most = parameters.get('max_batch_size')
        room = _REQUEST // (12 * info.image_size[0] * info.image_size[1])
        self.usual_batch = max(1, min(room, MAX_BATCH, most if type(most) is int and most > 0 else _USUAL_BATCH))

    def __call__(self, pixels: np.ndarray, outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Outputs for a batch, as :meth:`ExportedModel.__call__` gives them.

        Raises:
            ServerAwayError: If the server is away or stays busy.
            GLSimError: If it refuses the batch, or answers something else than was asked for.
        """
        names = list(self.info.outputs if outputs is None else outputs)
        parts = [
            self._infer(pixels[start : start + self.usual_batch], names)
            for start in range(0, len(pixels), self.usual_batch)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in names}

    def _infer(self, pixels: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        asked = [dict(name=name, parameters=dict(binary_data=self._is_binary)) for name in names]
        message: dict[str, Any] = dict(outputs=asked if self._is_binary else [dict(name=name) for name in names])
        tensors = {self._input: pixels.astype(_SENT[self._datatype], copy=False)}
        body, headers = write_message(message, 'inputs', tensors, tensors if self._is_binary else ())
        answer = self._client.ask('POST', f'{self._place}/infer', body, headers)
        try:
            _, found = read_message(answer.body, answer.headers.get(LENGTH_HEADER.lower()), 'outputs')
        except ProtocolError as error:
            raise GLSimError(f'{self.path} answers in a way that is not understood: {error}') from error
        for name in names:
            if name not in found or found[name].shape[:1] != pixels.shape[:1]:
                raise GLSimError(f'{self.path} does not give {name} for each of {len(pixels)} images')
        return {name: found[name].astype(np.float32, copy=False) for name in names}

    def _ask_json(self, path: str) -> dict[str, Any]:
        found = self._client.ask('GET', path).json()
        if not isinstance(found, dict):
            raise GLSimError(f'{self._client.url} does not speak the Open Inference Protocol')
        return found

    def _knows_binary(self) -> bool:
        """Whether images can be sent as bytes; numbers of JSON are five times as long."""
        with suppress(RefusedError):
            extensions = self._ask_json('/v2').get('extensions')
            return isinstance(extensions, list) and BINARY in extensions
        return False

    def _parameters(self, described: dict[str, Any]) -> dict[str, Any]:
        """What the server says of the model beside its inputs and outputs; Triton, in its configuration."""
        own = described.get('parameters')
        if isinstance(own, dict) and METADATA_KEY in own:
            return own
        with suppress(RefusedError):
            config = self._ask_json(f'{self._place}/config')
            given = config.get('parameters')
            entry = given.get(METADATA_KEY) if isinstance(given, dict) else None
            text = entry.get('string_value') if isinstance(entry, dict) else None
            return {METADATA_KEY: text, 'max_batch_size': config.get('max_batch_size')}
        return {}

    def _check_input(self, described: dict[str, Any], info: ExportedInfo) -> tuple[str, str]:
        """Name and datatype of the only input, which takes images of the model's size."""
        inputs = _tensors(described, 'inputs', self.path)
        wanted = [3, *info.image_size]
        found = inputs[0]
        shape = found.get('shape')
        sides = shape[-3:] if isinstance(shape, list) else []
        fits = len(sides) == 3 and all(have in (-1, want) for have, want in zip(sides, wanted))
        if len(inputs) > 1 or not fits or found.get('datatype') not in _SENT:
            height, width = info.image_size
            raise GLSimError(
                f'{self.path} is another model: it takes {found["name"]} of shape {shape} and type '
                f'{found.get("datatype")}, not images of 3 x {height} x {width} as FP32 or UINT8'
            )
        return found['name'], found['datatype']


def _split(url: str) -> tuple[str, str, str]:
    """Address of the server, name of the model, and ``/versions/V`` or nothing."""
    found = re.fullmatch(r'(.*?)/v2/models/([^/?#]+)(/versions/[\w.-]+)?/?', url)
    return (found[1], unquote(found[2]), found[3] or '') if found else (url.rstrip('/'), MODEL_NAME, '')


def _tensors(described: dict[str, Any], kind: str, path: str) -> list[dict[str, Any]]:
    """Descriptions of inputs or outputs, each with a name."""
    listed = described.get(kind)
    entries = listed if isinstance(listed, list) else []
    named = [one for one in entries if isinstance(one, dict) and isinstance(one.get('name'), str)]
    if not named:
        raise GLSimError(f'{path} does not describe its {kind}: it does not speak the Open Inference Protocol')
    return named
