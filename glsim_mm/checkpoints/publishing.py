"""A checkpoint to share: weights and where they came from, without the state of training."""

import hashlib
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mmengine.logging import HistoryBuffer
from torch import Tensor

from ..compat.checkpoints import load_checkpoint_file
from ..errors import GLSimError
from .writing import SUFFIXES, to_plain, write_checkpoint

_KEPT = ('cfg', 'dataset_meta', 'epoch', 'iter', 'seed', 'experiment_name', 'time', 'mmengine_version')
_PACKAGES = ('glsim_mm', 'mmengine', 'mmpretrain', 'timm', 'torch')
_HASH_DIGITS = 8
WEIGHTS = ('default', 'averaged', 'last')


def publish(
    source: str | Path,
    target: str | Path,
    weights: str = 'default',
    metrics: Mapping[str, Any] | None = None,
    config: str | None = None,
    commit: str | None = None,
) -> Path:
    """Write a checkpoint of training for others: no optimizer, a hash in the name, provenance inside.

    ``meta`` keeps the config's text, the data set's classes, epoch and iteration, and gets ``metrics``, the last
    validation's as the training log knows them (``last_validation``), ``git_commit`` and package ``versions``.

    Args:
        source: A checkpoint of training, ``.pth``.
        target: Name without the hash, ``.pth`` or ``.safetensors``.
        weights: ``'averaged'`` for those of ``EMAHook``, ``'last'`` for those that were trained, ``'default'`` for
            those that testing would use: averaged where there are any.
        metrics: Results of a test of these weights, as ``tools/test.py --out`` gives.
        config: The config's text. Defaults to that in the checkpoint.
        commit: The code's git commit. Defaults to that of this package, if it is in a repository.

    Returns:
        The file, for example ``glsim_cub-1a2b3c4d.safetensors``; the digits are the first of its SHA-256.

    Raises:
        GLSimError: If the source cannot be read or has no such weights, or the target cannot be written.
    """
    target = Path(target).expanduser()
    if target.suffix not in SUFFIXES:
        raise GLSimError(f'{target} cannot be written: choose a name that ends in {" or ".join(SUFFIXES)}')
    content = load_checkpoint_file(source, 'cpu')
    tensors = _choose(content, weights, str(source))
    known: Any = content.get('meta')
    meta = {name: known[name] for name in _KEPT if isinstance(known, dict) and name in known}
    if config is not None:
        meta['cfg'] = config
    meta.update(
        source=Path(source).name,
        weights='averaged' if 'ema_state_dict' in content and weights != 'last' else 'last',
        last_validation=_last_validation(content),
        metrics=to_plain(dict(metrics or {})),
        git_commit=commit or _git_commit(),
        versions=_versions(),
    )
    partial = write_checkpoint(target.with_name(f'{target.stem}.unhashed{target.suffix}'), tensors, meta)
    digits = hashlib.sha256(partial.read_bytes()).hexdigest()[:_HASH_DIGITS]
    return partial.replace(target.with_name(f'{target.stem}-{digits}{target.suffix}'))


def has_published_name(path: str | Path) -> bool:
    """Whether the digits at the end of a file's name are those of its contents."""
    path = Path(path)
    digits = path.stem.rpartition('-')[2]
    return len(digits) == _HASH_DIGITS and hashlib.sha256(path.read_bytes()).hexdigest().startswith(digits)


def _choose(content: Mapping[str, Any], weights: str, source: str) -> dict[str, Tensor]:
    """Tensors to publish; mmengine's ``EMAHook`` saves averaged weights as ``state_dict``, the others beside them."""
    if weights not in WEIGHTS:
        raise ValueError(f'weights must be one of {", ".join(WEIGHTS)}, got {weights!r}')
    state_dict = {
        name.removeprefix('module.'): tensor
        for name, tensor in content.get('state_dict', content).items()
        if isinstance(tensor, Tensor)
    }
    if not state_dict:
        raise GLSimError(f'checkpoint {source} holds no tensors; give a checkpoint of training')
    others = content.get('ema_state_dict')
    if others is None:
        if weights == 'averaged':
            raise GLSimError(f'checkpoint {source} holds no averaged weights: it was trained without EMAHook')
        return state_dict
    if weights == 'last':
        prefix = 'module.'
        trained = {name[len(prefix) :]: tensor for name, tensor in others.items() if name.startswith(prefix)}
        return {name: trained.get(name, tensor) for name, tensor in state_dict.items()}
    return state_dict


def _last_validation(content: Mapping[str, Any]) -> dict[str, float]:
    """Metrics of the last validation before the checkpoint was saved."""
    hub = content.get('message_hub')
    scalars = hub.get('log_scalars', {}) if isinstance(hub, Mapping) else {}
    return {
        name.removeprefix('val/'): float(buffer.current())
        for name, buffer in scalars.items()
        if name.startswith('val/')
        and not name.endswith('time')
        and isinstance(buffer, HistoryBuffer)
        and len(buffer.data[0])
    }


def _git_commit() -> str | None:
    command = ['git', 'rev-parse', 'HEAD']
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _versions() -> dict[str, str]:
    found = {'python': '.'.join(map(str, sys.version_info[:3]))}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
