"""Checkpoints are read without running code from them.

mmengine's loaders call ``torch.load`` and ``load_url`` with the default of ``weights_only``: unsafe before torch 2.6
and in ``load_url`` to this day, and since 2.6 unable to read mmengine's own checkpoints, which hold a
``HistoryBuffer`` (https://github.com/open-mmlab/mmengine/issues/1655). Expires when mmengine loads its checkpoints
with ``weights_only=True``.
"""

import io
import json
import os
import pickle
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.dist import barrier, get_rank
from mmengine.fileio import get_file_backend
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint

from ..errors import GLSimError

_STATISTICS = ('min', 'max', 'current', 'mean')
_NUMERIC_KINDS = 'biufcSU'
SAFETENSORS_META = 'glsim_mm'
"""Entry in the header of a ``.safetensors`` file that holds the ``meta`` of a checkpoint as JSON."""

SAFETENSORS_UNREAD = 'unread/'
"""Prefix, in such a file, of tensors that no forward pass reads."""

_NUMPY_MULTIARRAY = ('numpy.core.multiarray', 'numpy._core.multiarray')  # numpy 1 and numpy 2


def use_safe_checkpoint_loading() -> None:
    """Make mmengine load every checkpoint, whatever its address, with :func:`load_checkpoint_file`.

    Takes the place of the loaders of mmengine and of its OneDL fork, which falls back to unpickling anything. Programs
    that call ``torch.load`` themselves may read mmengine's log history too, as far as it is data.
    """
    if _can_allow_by_name():
        torch.serialization.add_safe_globals(list(_mmengine_globals()))
    register = CheckpointLoader.register_scheme
    register('', load_from_local, force=True)
    register(('http://', 'https://'), load_from_http, force=True)
    register(('modelzoo://', 'torchvision://'), load_from_torchvision, force=True)
    register(('open-mmlab://', 'openmmlab://'), load_from_openmmlab, force=True)
    register('mmcls://', load_from_mmcls, force=True)
    register([r'(\S+\:)?s3://', r'(\S+\:)?petrel://'], load_from_ceph, force=True)
    register('pavi://', load_from_pavi, force=True)


def load_checkpoint_file(
    file: str | Path | io.BytesIO, map_location: Any = None, safe_globals: Sequence = (), name: str = ''
) -> dict:
    """Read a checkpoint: tensors, plain Python data, numpy numbers and mmengine's log history, never code.

    Args:
        file: ``.safetensors`` or a file of ``torch.save``.
        map_location: As in ``torch.load``.
        safe_globals: More classes and functions to allow, as ``torch.serialization.safe_globals`` takes.
        name: What errors call the file. Defaults to its path.

    Returns:
        The checkpoint.

    Raises:
        GLSimError: If the file does not exist, is damaged, or asks for code.
    """
    name = name or str(file)
    if not isinstance(file, io.BytesIO):
        file = Path(file).expanduser()
        if not file.is_file():
            raise GLSimError(f'checkpoint {name} does not exist; check the path')
        if file.suffix == '.safetensors':
            return _load_safetensors(file, map_location)
    try:
        with _allow([*_mmengine_globals(), *safe_globals]):
            return torch.load(file, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise GLSimError(_explain_refusal(name, error)) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise GLSimError(f'checkpoint {name} is damaged or no checkpoint; get the file again') from error


def load_from_local(filename: str, map_location: Any = None) -> dict:
    """Load a checkpoint from a local path."""
    return load_checkpoint_file(filename, map_location)


def load_from_http(filename: str, map_location: Any = None) -> dict:
    """Load a checkpoint from a URL through torch's download cache; one process downloads at a time."""
    target = Path(torch.hub.get_dir(), 'checkpoints', os.path.basename(urlparse(filename).path))
    for turn in (get_rank() == 0, get_rank() != 0):  # other nodes have caches of their own
        if turn and not target.exists():
            _download(filename, target)
        barrier()
    return load_checkpoint_file(target, map_location)


def load_from_torchvision(filename: str, map_location: Any = None) -> dict:
    """Load a checkpoint of torchvision by its name."""
    urls = mmengine_checkpoint.get_torchvision_models()
    return load_from_http(_look_up(urls, filename), map_location)


def load_from_openmmlab(filename: str, map_location: Any = None) -> dict:
    """Load a checkpoint of OpenMMLab's model zoo by its name."""
    scheme, _, key = filename.partition('://')
    key = mmengine_checkpoint.get_deprecated_model_names().get(key, key)
    address = _look_up(mmengine_checkpoint.get_external_models(), f'{scheme}://{key}')
    if address.startswith(('http://', 'https://')):
        return load_from_http(address, map_location)
    return load_checkpoint_file(Path(mmengine_checkpoint._get_mmengine_home(), address), map_location)


def load_from_mmcls(filename: str, map_location: Any = None) -> dict:
    """Load the backbone of a classifier of mmcls by its name."""
    checkpoint = load_from_http(_look_up(mmengine_checkpoint.get_mmcls_models(), filename), map_location)
    weights = checkpoint.get('state_dict', checkpoint)
    prefix = 'backbone.'
    return dict(state_dict={key[len(prefix) :]: weights[key] for key in weights if key.startswith(prefix)})


def load_from_ceph(filename: str, map_location: Any = None) -> dict:
    """Load a checkpoint from object storage."""
    backend = get_file_backend(filename, backend_args={'backend': 'petrel'})
    return load_checkpoint_file(io.BytesIO(backend.get(filename)), map_location, name=filename)


def load_from_pavi(filename: str, map_location: Any = None) -> dict:
    """Refuse the address of a service that is no longer there."""
    raise GLSimError(f'{filename}: pavi:// is not supported; download the checkpoint and give its path')


def _look_up(urls: dict[str, str], filename: str) -> str:
    key = filename.partition('://')[2]
    if key not in urls:
        raise GLSimError(f'there is no checkpoint {filename}; check its name or give a path')
    return urls[key]


def _download(url: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(target), progress=os.isatty(2))
    except (URLError, TimeoutError, ConnectionError) as error:
        raise GLSimError(f'cannot download {url} ({error}); get the file by other means and give its path') from error


def _load_safetensors(path: Path, map_location: Any) -> dict:
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        with safe_open(path, framework='pt') as file:
            header = file.metadata() or {}
        tensors = load_file(path, device=str(map_location or 'cpu'))
        if SAFETENSORS_META not in header:
            return tensors
        meta = json.loads(header[SAFETENSORS_META])
    except (SafetensorError, OSError, ValueError) as error:
        raise GLSimError(f'checkpoint {path} is damaged or no checkpoint; get the file again') from error
    unread = {name: tensors.pop(name) for name in list(tensors) if name.startswith(SAFETENSORS_UNREAD)}
    plain_names = {name.removeprefix(SAFETENSORS_UNREAD): tensor for name, tensor in unread.items()}
    return dict(state_dict=tensors, meta=meta if isinstance(meta, dict) else {}, unread=plain_names)


def _allow(names: Sequence) -> AbstractContextManager:
    """Allow classes and functions for the next load, where torch can (>= 2.6 for functions under another name)."""
    return torch.serialization.safe_globals(list(names)) if _can_allow_by_name() else nullcontext()


def _can_allow_by_name() -> bool:
    return tuple(int(part) for part in re.findall(r'\d+', torch.__version__)[:2]) >= (2, 6)


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
        return f'checkpoint {name} is damaged or no checkpoint; get the file again'
    if not _can_allow_by_name():
        return f'checkpoint {name} cannot be read safely by torch {torch.__version__}; upgrade to torch 2.6 or newer'
    wish = wanted[1] if wanted else 'a function call'
    return f'checkpoint {name} asks to run code ({wish}) and was refused; get a file that holds only weights'
