"""A model repository with an exported file, as Triton Inference Server reads it.

See https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_repository.html
"""

import json
import re
from pathlib import Path

import numpy as np

from ..errors import GLSimError
from ..output_files import write_file
from .onnx_model import METADATA_KEY, ExportedModel

MODEL_NAME = 'glsim'
INPUT = 'pixels'
MAX_BATCH = 64
_DELAY, _QUEUE = 10_000, 64  # microseconds and requests, as those of glsim serve
_LABELS = 'labels.txt'


def model_file(repository: str | Path, name: str = MODEL_NAME) -> Path:
    """Where the file of a model lies in a repository.

    Raises:
        GLSimError: If a model cannot be called so.
    """
    if not re.fullmatch(r'[A-Za-z0-9][A-Za-z0-9_.-]*', name):
        raise GLSimError(f'a model in a repository has a name of letters, digits, _, . and -, and not {name!r}')
    return Path(repository).expanduser() / name / '1' / 'model.onnx'


def write_repository(path: str | Path, name: str = MODEL_NAME) -> Path:
    """Write what Triton needs beside a file at :func:`model_file`: ``config.pbtxt``, and the names of classes.

    Requests of several clients are joined to batches of up to 64 photos, for which Triton waits 10 ms; where 64 wait
    already, Triton answers 503. Where the model runs is left to Triton, which takes the GPUs that it finds. All that
    clients need to prepare photos and to compare embeddings is the parameter ``glsim_mm``, as JSON.

    Returns:
        ``config.pbtxt``.

    Raises:
        GLSimError: If the file cannot be used.
    """
    model, folder = ExportedModel(path, device='cpu'), Path(path).parent.parent
    info = model.info
    outputs = model(np.zeros((1, 3, *info.image_size), np.float32))
    lines = [
        f'name: {json.dumps(name)}',
        'backend: "onnxruntime"',
        f'default_model_filename: {json.dumps(Path(path).name)}',
        f'max_batch_size: {MAX_BATCH}',
        _tensor('input', INPUT, (3, *info.image_size)),
    ]
    for output, values in outputs.items():
        has_labels = output == 'logits' and len(info.classes) == values.shape[1]
        lines.append(_tensor('output', output, values.shape[1:], _LABELS if has_labels else ''))
        if has_labels:
            names = [' '.join(one.split()) for one in info.classes]
            write_file(folder / _LABELS, '\n'.join(names) + '\n')
    lines += [
        'dynamic_batching {',
        f'  max_queue_delay_microseconds: {_DELAY}',
        f'  default_queue_policy {{ max_queue_size: {_QUEUE} }}',
        '}',
        f'parameters {{ key: {json.dumps(METADATA_KEY)} value {{ string_value: {json.dumps(info.to_json())} }} }}',
    ]
    return write_file(folder / 'config.pbtxt', '\n'.join(lines) + '\n')


def _tensor(kind: str, name: str, shape: tuple[int, ...], labels: str = '') -> str:
    """A line for an input or output, whose batches are left out of the shape."""
    named = f' label_filename: {json.dumps(labels)}' if labels else ''
    return f'{kind} {{ name: {json.dumps(name)} data_type: TYPE_FP32 dims: {list(map(int, shape))}{named} }}'
