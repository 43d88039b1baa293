"""Files of weights, read without running code from them: torch's, safetensors, sharded ones and NumPy's .npz."""

import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..compat.checkpoints import load_checkpoint_file
from ..errors import GLSimError
from .settings import AuthorsSettings

# Where training programs keep the model; averaged weights first, as timm prefers them.
_MODEL_KEYS = ('state_dict_ema', 'model_ema', 'state_dict', 'model', 'teacher', 'module')
_MAX_NESTING = 4  # a crafted file may nest without end
_WRAPPERS = re.compile(r'^(?:module\.|_orig_mod\.)+')
# In a folder, as Hugging Face and open_clip name them.
_FOLDER_FILES = (
    'model.safetensors',
    'model.safetensors.index.json',
    'open_clip_model.safetensors',
    'pytorch_model.bin',
    'pytorch_model.bin.index.json',
)
_DAMAGED = 'checkpoint {} is damaged or no checkpoint; get the file again'


class Checkpoint(NamedTuple):
    """What a file of weights holds.

    Attributes:
        tensors: The model's tensors on the CPU, floating point ones as float32.
        settings: The authors' command line, for their GLSim checkpoints; else empty.
        meta: ``meta`` of mmengine's checkpoints; else empty.
        unread: Tensors that no forward pass reads, kept for an exact export.
    """

    tensors: dict[str, Tensor]
    settings: dict[str, Any]
    meta: dict[str, Any]
    unread: dict[str, Tensor]


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a file of weights.

    Args:
        path: ``.safetensors``, ``.npz``, a file of ``torch.save``, ``*.index.json`` of a sharded model, or a folder of
            Hugging Face's with one of these.

    Returns:
        Its contents.

    Raises:
        GLSimError: If there is no such file, or it is damaged, asks for code or holds no tensors.
    """
    file = _find_file(Path(path).expanduser())
    content = _load(file)
    meta, unread = (_mapping(content.get(name)) for name in ('meta', 'unread'))
    tensors = to_float32(_model_of(content))
    if not tensors:
        raise GLSimError(f'checkpoint {file} holds no tensors; get a file of weights')
    settings: Any = content.get('config')
    if isinstance(settings, AuthorsSettings):
        settings = getattr(settings, 'values', {})
    if not isinstance(settings, dict):
        settings = _mapping(meta.get('settings'))
    return Checkpoint(tensors, settings, meta, to_float32(unread))


def _mapping(value: object) -> dict[str, Any]:
    """The value if it is a dictionary, else an empty one."""
    return value if isinstance(value, dict) else {}


def to_float32(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """Tensors among the values, floating point ones as float32, without the prefixes of DDP and torch.compile."""
    return {
        _WRAPPERS.sub('', name): value.detach().float() if value.is_floating_point() else value.detach()
        for name, value in tensors.items()
        if isinstance(value, Tensor)
    }


def _find_file(path: Path) -> Path:
    if path.is_dir():
        found = [path / name for name in _FOLDER_FILES if (path / name).is_file()]
        if not found:
            raise GLSimError(f'folder {path} holds none of {", ".join(_FOLDER_FILES)}; give the file of weights')
        return found[0]
    if not path.is_file():
        raise GLSimError(f'checkpoint {path} does not exist; check the path')
    return path


def _load(file: Path) -> dict[str, Any]:
    if file.suffix == '.npz':
        return dict(_load_npz(file))
    if file.name.endswith('.index.json'):
        return _load_shards(file)
    if file.suffix != '.safetensors' and _is_torchscript(file):
        raise GLSimError(
            f"checkpoint {file} is a TorchScript program, not weights, and was not run; take the model's "
            '.safetensors, or save its state_dict()'
        )
    content = load_checkpoint_file(file, 'cpu', safe_globals=[(AuthorsSettings, 'argparse.Namespace')])
    if not isinstance(content, dict):
        raise GLSimError(
            f'checkpoint {file} holds a {type(content).__name__}, not weights by name; save a state_dict()'
        )
    return content


def _model_of(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The model's tensors in whatever a training program saved around them."""
    for _ in range(_MAX_NESTING):
        inner = [content[key] for key in _MODEL_KEYS if isinstance(content.get(key), Mapping) and content[key]]
        if not inner:
            break
        content = inner[0]
    return content


def _load_npz(file: Path) -> dict[str, Tensor]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: _to_tensor(arrays[name]) for name in arrays.files}
    except (
        ValueError,
        OSError,
        EOFError,
        KeyError,
        AttributeError,
        TypeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        if 'allow_pickle' in str(error):
            raise GLSimError(
                f'checkpoint {file} asks to run code (a pickled array) and was refused; get a file that holds only '
                'weights'
            ) from error
        raise GLSimError(_DAMAGED.format(file)) from error


def _to_tensor(array: np.ndarray) -> Tensor:
    if array.dtype.kind == 'V' and array.dtype.itemsize == 2:  # NumPy has no bfloat16: JAX writes two raw bytes
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(np.array(array))


def _load_shards(index: Path) -> dict[str, Any]:
    """Hugging Face's sharded models: an index of names, and files beside it."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding='utf-8'))['weight_map'].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise GLSimError(_DAMAGED.format(index)) from error
    tensors: dict[str, Any] = {}
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise GLSimError(
                f'{index} names a file outside its folder ({name}), which is not read; get the index again'
            )
        tensors.update(_load(_find_file(index.parent / name)))
    return tensors


def _is_torchscript(file: Path) -> bool:
    """OpenAI publishes CLIP as such programs."""
    if not zipfile.is_zipfile(file):
        return False
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith('/constants.pkl') for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError):
        return False
