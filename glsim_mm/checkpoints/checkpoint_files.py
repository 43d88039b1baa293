"""Files of weights, read without running code from them: torch's, safetensors, sharded ones and NumPy's .npz.

``torch.load(weights_only=True)`` cannot read mmengine's own checkpoints, which hold a ``HistoryBuffer``
(https://github.com/open-mmlab/mmengine/issues/1655), and mmengine unpickles freely what it downloads. The list of what
is allowed expires when mmengine loads its checkpoints with ``weights_only=True``.
"""

import json
import pickle
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, print_log
from torch import Tensor

from ..errors import GLSimError, check_not_exported, explain_missing, name_some

SAFETENSORS_META = 'glsim_mm'  # entry in the header of a .safetensors file: the meta of a checkpoint as JSON
SAFETENSORS_UNREAD = 'unread/'  # prefix, in such a file, of tensors that no forward pass reads
# Where training programs keep the model. Averaged weights are better in nearly all cases; timm prefers them too.
AVERAGED_KEYS = ('state_dict_ema', 'model_ema')
_MODEL_KEYS = ('state_dict', 'model', 'teacher', 'module')
_MAX_NESTING = 4  # a crafted file may nest without end
# In a folder, as Hugging Face and open_clip name them.
_FOLDER_FILES = (
    'model.safetensors',
    'model.safetensors.index.json',
    'open_clip_model.safetensors',
    'pytorch_model.bin',
    'pytorch_model.bin.index.json',
    'open_clip_pytorch_model.bin',
)
_DAMAGED = 'checkpoint {} is damaged or no checkpoint; get the file again'
# What torch, NumPy, json and zipfile raise for files that are cut short or of another kind.
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error)
_UNREADABLE = (AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError, *_BROKEN_ZIP)
_STATISTICS = ('min', 'max', 'current', 'mean')
_NUMERIC_KINDS = 'biufcSU'
_NUMPY_MULTIARRAY = ('numpy.core.multiarray', 'numpy._core.multiarray')  # numpy 1 and numpy 2
_LOCK = Lock()  # torch's list of what is allowed belongs to the process
_SCALARS = (str, int, float, bool, type(None))


class Checkpoint(NamedTuple):
    """What a file of weights holds.

    >>> checkpoint = read_checkpoint('epoch_50.pth')
    >>> sorted(checkpoint.tensors)[:2]
    ['backbone.cls_token', 'backbone.layers.0.attn.proj.bias']

    Attributes:
        tensors: The model's tensors, floating point ones as float32.
        settings: The authors' command line, for their GLSim checkpoints; else empty.
        meta: ``meta`` of mmengine's checkpoints; else empty.
        unread: Tensors that no forward pass reads, kept for an exact export.
        content: The whole file as mmengine expects it: the model's tensors as stored under ``state_dict``, and
            whatever else a training program saved.
    """

    tensors: dict[str, Tensor]
    settings: dict[str, Any]
    meta: dict[str, Any]
    unread: dict[str, Tensor]
    content: dict[str, Any]


class AuthorsSettings:
    """Takes the place of ``argparse.Namespace``, in which the authors save their command line, without running code.

    >>> load_checkpoint_file('vit_b16_best.pth')['config'].values['dynamic_top']
    8
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}  # strings, numbers, None, and flat lists and tuples of them

    def __setstate__(self, state: object) -> None:
        """Called by the unpickler with the namespace's attributes, whatever the file says they are."""
        self.values = {}
        if isinstance(state, Mapping):
            for name, value in state.items():
                if isinstance(name, str) and _is_plain(value):
                    self.values[name] = str(value) if isinstance(value, torch.device) else value


def read_checkpoint(path: str | Path, map_location: Any = 'cpu', averaged: bool = True) -> Checkpoint:
    """Read a file of weights of any kind; names lose the prefixes of DDP, ``torch.compile`` and Lightning.

    Args:
        path: ``.safetensors``, ``.npz``, a file of ``torch.save``, ``*.index.json`` of a sharded model, or a folder of
            Hugging Face's with one of these.
        map_location: As in ``torch.load``.
        averaged: Whether to prefer averaged weights that stand beside the trained ones.

    Raises:
        GLSimError: If there is no such file, or it is damaged, asks for code, holds no tensors or holds NaN.
    """
    file = _find_file(Path(path).expanduser())
    content = _load(file, map_location)
    state_dict = _clean_names(_model_of(content, averaged))
    if 'pytorch-lightning_version' in content:
        state_dict = _model_in_lightning(state_dict, file)
    if not state_dict:
        raise GLSimError(f'checkpoint {file} holds no tensors; get a file of weights')
    meta, unread = (_mapping(content.get(name)) for name in ('meta', 'unread'))
    settings: Any = content.get('config')
    if isinstance(settings, AuthorsSettings):
        settings = getattr(settings, 'values', {})  # a crafted file may leave them out
    if not isinstance(settings, dict):
        settings = _mapping(meta.get('settings'))
    whole = dict(content, state_dict=state_dict, meta=meta)
    tensors = check_finite(to_float32(state_dict), str(file))
    return Checkpoint(tensors, settings, meta, to_float32(unread), whole)


def check_finite(tensors: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """The tensors as they are; masks of attention (``*mask``) may be infinite.

    Raises:
        GLSimError: If any holds NaN or infinite numbers, with which a model says nothing about its input. ``source`` is
            what the message calls the file.
    """
    names = [name for name, tensor in tensors.items() if not _is_finite(name, tensor)]
    if names:
        raise GLSimError(
            f'checkpoint {source} holds NaN or infinite numbers in {len(names)} of {len(tensors)} tensors '
            f'({name_some(names)}): the training had diverged or the file is damaged; take an earlier checkpoint or '
            'get the file again'
        )
    return tensors


def _is_finite(name: str, tensor: Tensor) -> bool:
    if name.endswith('mask'):
        return not bool(tensor.isnan().any())
    return bool(tensor.isfinite().all())


def load_checkpoint_file(file: str | Path, map_location: Any = None, name: str = '') -> Any:
    """Read what ``torch.save`` wrote, or a ``.safetensors`` file: tensors, plain data, mmengine's log; never code.

    Args:
        file: Its contents are returned as they are.
        map_location: As in ``torch.load``.
        name: What errors call the file. Defaults to its path.

    Raises:
        GLSimError: If the file does not exist, is damaged, or asks for code.
    """
    name = name or str(file)
    file = Path(file).expanduser()
    if not file.is_file():
        raise GLSimError(explain_missing('checkpoint', name))
    if file.suffix == '.safetensors':
        return _load_safetensors(file, map_location)
    try:
        with _LOCK, _allow_records():
            return torch.load(file, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise GLSimError(_explain_refusal(name, error)) from error
    except _UNREADABLE as error:
        raise GLSimError(_DAMAGED.format(name)) from error


def allow_mmengine_records() -> None:
    """Let ``torch.load`` read mmengine's log history, as far as it is data, in programs that call it themselves.

    OpenMMLab's own tools do. May be repeated; what others have allowed stays allowed.
    """
    torch.serialization.add_safe_globals(list(_mmengine_globals()))


def to_float32(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """Tensors among the values, floating point ones as float32."""
    return {
        name: value.detach().float() if value.is_floating_point() else value.detach()
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
        raise GLSimError(explain_missing('checkpoint', path))
    return path


def _load(file: Path, map_location: Any) -> dict[str, Any]:
    if file.suffix == '.npz':
        return dict(_load_npz(file))
    if file.name.endswith('.index.json'):
        return _load_shards(file, map_location)
    check_not_exported(file)
    if file.suffix != '.safetensors' and _is_torchscript(file):
        raise GLSimError(
            f"checkpoint {file} is a TorchScript program, not weights, and was not run; take the model's "
            '.safetensors, or save its state_dict()'
        )
    content = load_checkpoint_file(file, map_location)
    if not isinstance(content, dict):
        raise GLSimError(
            f'checkpoint {file} holds a {type(content).__name__}, not weights by name; save a state_dict()'
        )
    return content


def _model_of(content: Mapping[str, Any], averaged: bool) -> Mapping[str, Any]:
    """The model's tensors in whatever a training program saved around them."""
    keys = (*AVERAGED_KEYS, *_MODEL_KEYS) if averaged else (*_MODEL_KEYS, *AVERAGED_KEYS)
    for _ in range(_MAX_NESTING):
        inner = [content[key] for key in keys if isinstance(content.get(key), Mapping) and content[key]]
        if not inner:
            break
        content = inner[0]
    return content


def _clean_names(weights: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors, without the prefixes that DDP and ``torch.compile`` put before their names."""
    return {
        re.sub(r'^(module\.)+', '', name.replace('_orig_mod.', '')): value
        for name, value in weights.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }


def _model_in_lightning(tensors: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """The model in a LightningModule, which holds it as an attribute beside losses, or beside an average of it."""
    holders = {name[: name.index('backbone.')] for name in tensors if '.backbone.' in name}
    if not holders:
        return tensors
    holder = min(holders, key=lambda prefix: ('ema' not in prefix, 'teacher' not in prefix, prefix))
    others = [name for name in tensors if not name.startswith(holder)]
    if others:
        print_log(f'{file}: left out, as no part of {holder[:-1]}: {name_some(others)}', logger='current')
    return {name.removeprefix(holder): tensor for name, tensor in tensors.items() if name.startswith(holder)}


def _load_npz(file: Path) -> dict[str, Tensor]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: _to_tensor(arrays[name]) for name in arrays.files}
    except _UNREADABLE as error:
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


def _load_shards(index: Path, map_location: Any) -> dict[str, Any]:
    """Hugging Face's sharded models: an index of names, and files beside it."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding='utf-8'))['weight_map'].values()))
    except _UNREADABLE as error:
        raise GLSimError(_DAMAGED.format(index)) from error
    tensors: dict[str, Any] = {}
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise GLSimError(
                f'{index} names a file outside its folder ({name}), which is not read; get the index again'
            )
        tensors.update(_load(_find_file(index.parent / name), map_location))
    return tensors


def _load_safetensors(path: Path, map_location: Any) -> dict:
    from safetensors import SafetensorError, safe_open  # an extra: most files are torch's
    from safetensors.torch import load_file

    try:
        with safe_open(path, framework='pt') as file:
            header = file.metadata() or {}
        tensors = load_file(path, device=str(map_location or 'cpu'))
        if SAFETENSORS_META not in header:
            return tensors
        meta = json.loads(header[SAFETENSORS_META])
    except (SafetensorError, OSError, ValueError) as error:
        raise GLSimError(_DAMAGED.format(path)) from error
    unread = {name: tensors.pop(name) for name in list(tensors) if name.startswith(SAFETENSORS_UNREAD)}
    plain_names = {name.removeprefix(SAFETENSORS_UNREAD): tensor for name, tensor in unread.items()}
    return dict(state_dict=tensors, meta=_mapping(meta), unread=plain_names)


def _is_torchscript(file: Path) -> bool:
    """OpenAI publishes CLIP as such programs."""
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith('/constants.pkl') for name in archive.namelist())
    except _UNREADABLE:
        return False


def _allow_records() -> AbstractContextManager:
    """Allow what checkpoints hold besides tensors for the next load.

    At its end torch forbids what was allowed for the load, also if it had been allowed before: so only what is new.
    """
    known = torch.serialization.get_safe_globals()
    wanted: list = [*_mmengine_globals(), (AuthorsSettings, 'argparse.Namespace')]
    return torch.serialization.safe_globals([entry for entry in wanted if entry not in known])


def _mmengine_globals() -> Iterator[type | tuple[Callable, str]]:
    """What the pickle of a ``HistoryBuffer`` and of numpy numbers names, with stand-ins for the risky ones."""
    reconstruct: Any = np.zeros(0).__reduce__()[0]
    scalar: Any = np.float64(0).__reduce__()[0]
    for module in _NUMPY_MULTIARRAY:
        yield reconstruct, f'{module}._reconstruct'
        yield scalar, f'{module}.scalar'
    yield np.ndarray
    yield _numeric_dtype, 'numpy.dtype'
    yield from {type(np.dtype(code)) for code in np.typecodes['AllInteger'] + np.typecodes['AllFloat'] + '?SU'}
    yield HistoryBuffer
    yield _statistics_method, 'builtins.getattr'


def _statistics_method(owner: object, name: str) -> Callable:
    """``getattr``, for the four methods that a ``HistoryBuffer`` pickles by reference and nothing else."""
    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise pickle.UnpicklingError(f'GLOBAL getattr({owner!r}, {name!r}) is not allowed')
    return getattr(HistoryBuffer, name)


def _numeric_dtype(code: str, *args: bool) -> np.dtype:
    """``numpy.dtype`` without objects and records."""
    dtype = np.dtype(code, *args) if isinstance(code, str) else None
    if dtype is None or dtype.kind not in _NUMERIC_KINDS:
        raise pickle.UnpicklingError(f'GLOBAL numpy.dtype({code!r}) is not allowed')
    return dtype


def _explain_refusal(name: str, error: pickle.UnpicklingError) -> str:
    """One sentence for what the restricted unpickler refused."""
    wanted = re.search(r'GLOBAL ([\w.]+(?:\(.*?\))?)', str(error))
    if wanted is None and 'unrecognized function' not in str(error):
        return _DAMAGED.format(name)
    wish = wanted[1] if wanted else 'a function call'
    return f'checkpoint {name} asks to run code ({wish}) and was refused; get a file that holds only weights'


def _is_plain(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return all(type(item) in _SCALARS for item in value)
    return type(value) in _SCALARS or isinstance(value, torch.device)


def _mapping(value: object) -> dict[str, Any]:
    """The value if it is a dictionary, else an empty one."""
    return value if isinstance(value, dict) else {}
