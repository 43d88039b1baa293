"""Messages of KServe's v2 protocol, the Open Inference Protocol, with its extension for tensors in binary.

See https://github.com/kserve/open-inference-protocol and, for the extension,
https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_binary_data.html.
What is read comes from elsewhere, and is believed nothing that its bytes do not bear out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from ..errors import GLSimError

BINARY = 'binary_tensor_data'
"""How servers list the extension."""

LENGTH_HEADER = 'Inference-Header-Content-Length'
BYTES = 'application/octet-stream'
DATATYPES = {
    'BOOL': np.dtype('?'),
    'UINT8': np.dtype('<u1'),
    'INT8': np.dtype('<i1'),
    'INT32': np.dtype('<i4'),
    'INT64': np.dtype('<i8'),
    'FP16': np.dtype('<f2'),
    'FP32': np.dtype('<f4'),
    'FP64': np.dtype('<f8'),
}
_MAX_DIMENSIONS, _MAX_TENSORS = 8, 64
_MAX_JSON = 16 << 20  # a number of JSON takes eight times its bytes while it is read
Message = dict[str, Any]


class ProtocolError(GLSimError):
    """A message that is none of the protocol, in one sentence."""


def write_message(
    message: Mapping[str, Any], kind: str, tensors: Mapping[str, np.ndarray], binary: Collection[str]
) -> tuple[bytes, dict[str, str]]:
    """The bytes of a message and the headers that go with it.

    Args:
        message: Its other members.
        kind: ``'inputs'`` of a request, or ``'outputs'`` of an answer.
        tensors: By name, of a type in :data:`DATATYPES`.
        binary: Names of those that go behind the JSON as bytes, in place of numbers in it.
    """
    names = {dtype: name for name, dtype in DATATYPES.items()}
    described, parts = [], []
    for name, values in tensors.items():
        dtype = values.dtype.newbyteorder('<')
        one: Message = dict(name=name, datatype=names[dtype], shape=list(values.shape))
        if name in binary:
            parts.append(np.ascontiguousarray(values, dtype).tobytes())
            one['parameters'] = dict(binary_data_size=len(parts[-1]))
        else:
            one['data'] = np.ravel(values).tolist()
        described.append(one)
    head = json.dumps({**message, kind: described}).encode()
    if not parts:
        return head, {'Content-Type': 'application/json'}
    headers = {'Content-Type': BYTES, LENGTH_HEADER: str(len(head))}
    return b''.join([head, *parts]), headers


def read_message(body: bytes, header_length: str | None, kind: str) -> tuple[Message, dict[str, np.ndarray]]:
    """The members of a message, and its tensors by name.

    Args:
        body: All of its bytes.
        header_length: What :data:`LENGTH_HEADER` says; None where it is not there, and all is JSON.
        kind: ``'inputs'`` or ``'outputs'``.

    Raises:
        ProtocolError: If it is none.
    """
    length = len(body)
    if header_length is not None:
        if not (header_length.isascii() and header_length.isdecimal()) or int(header_length[:20]) > length:
            raise ProtocolError(f'{LENGTH_HEADER} must be the bytes of the JSON, {length} at most')
        length = int(header_length)
    if length > _MAX_JSON:
        raise ProtocolError(f'the JSON of a message has at most {_MAX_JSON >> 20} MiB: send tensors in binary')
    message = read_json(body[:length])
    listed = message.get(kind)
    if not isinstance(listed, list) or not 1 <= len(listed) <= _MAX_TENSORS:
        raise ProtocolError(f'{kind} must be a list of 1 to {_MAX_TENSORS} tensors')
    rest = memoryview(body)[length:]
    tensors: dict[str, np.ndarray] = {}
    for one in listed:
        name, dtype, shape = _read_head(one, kind)
        if name in tensors:
            raise ProtocolError(f'{kind}: {name} comes twice')
        size = _parameter(one, 'binary_data_size')
        if size is None:
            tensors[name] = _read_numbers(one.get('data'), dtype, shape, name)
            continue
        wanted = math.prod(shape) * dtype.itemsize
        if isinstance(size, bool) or size != wanted or len(rest) < wanted:
            raise ProtocolError(f'{name} of shape {shape} has {wanted} bytes, which is neither said nor sent')
        tensors[name] = np.frombuffer(rest[:wanted], dtype).reshape(shape)
        rest = rest[wanted:]
    if len(rest):
        raise ProtocolError(f'{len(rest)} bytes belong to no tensor')
    return message, tensors


def read_json(content: bytes) -> Message:
    """An object of JSON; a ProtocolError if it is none."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ProtocolError('this is no object of JSON')
    return found


def wants_binary(message: Mapping[str, Any], name: str) -> bool:
    """Whether a request asks for an output as bytes, by itself or as all."""
    outputs = message.get('outputs')
    for one in outputs if isinstance(outputs, list) else ():
        if isinstance(one, dict) and one.get('name') == name:
            own = _parameter(one, 'binary_data')
            if own is not None:
                return own is True
    return _parameter(message, 'binary_data_output') is True


def _read_head(tensor: Any, kind: str) -> tuple[str, np.dtype, tuple[int, ...]]:
    if not isinstance(tensor, dict) or not isinstance(tensor.get('name'), str):
        raise ProtocolError(f'{kind}: each is an object with a name, a datatype and a shape')
    name, datatype, shape = tensor['name'][:100], tensor.get('datatype'), tensor.get('shape')
    dtype = DATATYPES.get(datatype) if isinstance(datatype, str) else None
    if dtype is None:
        raise ProtocolError(f'{name}: the datatype must be one of {", ".join(DATATYPES)}')
    sides = tuple(shape) if isinstance(shape, list) and len(shape) <= _MAX_DIMENSIONS else (None,)
    if not all(type(side) is int and 0 <= side < 2**31 for side in sides):
        raise ProtocolError(f'{name}: the shape must be a list of at most {_MAX_DIMENSIONS} sizes')
    return name, dtype, sides


def _read_numbers(data: Any, dtype: np.dtype, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Numbers of JSON, one after another or nested as the shape."""
    try:
        if not isinstance(data, list):
            raise ValueError
        values = np.array(data) if data else np.zeros(0, dtype)
        if values.dtype.kind not in 'biuf' or (dtype.kind != 'f' and values.dtype.kind == 'f'):
            raise ValueError
        if dtype.kind in 'iu' and values.size and not _fits(values, dtype):
            raise ValueError
        with np.errstate(over='ignore'):
            return values.astype(dtype).reshape(shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise ProtocolError(f'{name}: data must be {math.prod(shape)} numbers of its datatype') from error


def _fits(values: np.ndarray, dtype: np.dtype) -> bool:
    limits = np.iinfo(dtype)
    return bool(values.min() >= limits.min and values.max() <= limits.max)


def _parameter(holder: Mapping[str, Any], name: str) -> Any:
    parameters = holder.get('parameters')
    return parameters.get(name) if isinstance(parameters, dict) else None
