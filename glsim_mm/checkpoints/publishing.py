"""Writing checkpoints whole or not at all, and publishing those of training."""

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

from ..errors import GLSimError
from ..output_files import replace_with, write_file
from .checkpoint_files import AVERAGED_KEYS, SAFETENSORS_META, SAFETENSORS_UNREAD, check_finite, read_checkpoint

_SUFFIXES = ('.pth', '.safetensors')
_HEADER_SIZE = 8  # bytes of the number that says how long a safetensors header is
_KEPT = ('cfg', 'dataset_meta', 'epoch', 'iter', 'seed', 'experiment_name', 'time', 'mmengine_version')
_PACKAGES = ('glsim_mm', 'mmengine', 'mmpretrain', 'timm', 'torch')
_HASH_DIGITS = 8
_WEIGHTS = ('default', 'averaged', 'last')


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
        source: A checkpoint of training.
        target: Name without the hash, ``.pth`` or ``.safetensors``.
        weights: ``'averaged'`` for those of ``EMAHook``, ``'last'`` for those that were trained, ``'default'`` for
            those that testing would use: averaged where there are any.
        metrics: Results of a test of these weights, as ``glsim test --out`` gives.
        config: The config's text. Defaults to that in the checkpoint.
        commit: The code's git commit. Defaults to that of this package, if it is in a repository.

    Returns:
        The file, for example ``glsim_cub-1a2b3c4d.safetensors``; the digits are the first of its SHA-256.

    Raises:
        GLSimError: If the source cannot be read, lacks such weights or holds NaN, or the target cannot be written.
    """
    target = check_target(target)
    if weights not in _WEIGHTS:
        raise ValueError(f'weights must be one of {", ".join(_WEIGHTS)}, got {weights!r}')
    checkpoint = read_checkpoint(source, averaged=weights != 'last')
    content = checkpoint.content
    has_averages = any(name in content for name in ('ema_state_dict', *AVERAGED_KEYS))
    if weights == 'averaged' and not has_averages:
        raise GLSimError(f'checkpoint {source} holds no averaged weights: it was trained without EMAHook')
    # mmengine's EMAHook saves averaged weights as state_dict, and the others beside them.
    trained = content.get('ema_state_dict', {}) if weights == 'last' else {}
    tensors = {name: trained.get(f'module.{name}', tensor) for name, tensor in content['state_dict'].items()}
    check_finite(tensors, str(source))
    meta = {name: checkpoint.meta[name] for name in _KEPT if name in checkpoint.meta}
    if config is not None:
        meta['cfg'] = config
    meta.update(
        source=Path(source).name,
        weights='averaged' if has_averages and weights != 'last' else 'last',
        last_validation=_last_validation(content),
        metrics=to_plain(dict(metrics or {})),
        git_commit=commit or _git_commit(),
        versions=_versions(),
    )
    partial = write_checkpoint(target.with_name(f'{target.stem}.unhashed{target.suffix}'), tensors, meta)
    digits = hashlib.sha256(partial.read_bytes()).hexdigest()[:_HASH_DIGITS]
    return partial.replace(target.with_name(f'{target.stem}-{digits}{target.suffix}'))


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
    command, here = ['git', 'rev-parse', 'HEAD'], Path(__file__).parent
    try:
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=10, check=True)
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


def write_checkpoint(
    target: str | Path,
    tensors: Mapping[str, Tensor],
    meta: Mapping[str, Any] | None = None,
    unread: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write tensors with what is known of them to a ``.pth`` or ``.safetensors`` file.

    Its folder is made, an existing file replaced at once. ``meta``, plain values, is read back as such; ``unread`` are
    tensors that no forward pass reads.
    """
    target = check_target(target)
    if target.suffix == '.pth':
        content = dict(meta=to_plain(dict(meta or {})), state_dict=own_memory(tensors))
        return write_torch(target, dict(content, unread=own_memory(unread)) if unread else content)

    from safetensors.torch import save

    prefixed = {SAFETENSORS_UNREAD + name: tensor for name, tensor in (unread or {}).items()}
    header = {'format': 'pt'}
    if meta is not None:
        header[SAFETENSORS_META] = json.dumps(to_plain(dict(meta)))
    whole = _with_ordered_header(save(own_memory({**tensors, **prefixed}), metadata=header))
    return write_file(target, whole)


def write_torch(target: Path, content: Mapping[str, Any]) -> Path:
    """Write any content as ``torch.save`` does."""
    buffer = io.BytesIO()  # torch.save would write the name of the file into it, and so into its hash
    torch.save(content, buffer)
    return replace_with(target, lambda partial: partial.write_bytes(buffer.getbuffer()))


def own_memory(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor in memory of its own: torch saves all that a view looks into, safetensors refuses shared memory."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}


def check_target(target: str | Path) -> Path:
    """Path of a file to write; raises :class:`GLSimError` for a suffix that is not written."""
    target = Path(target).expanduser()
    if target.suffix not in _SUFFIXES:
        raise GLSimError(f'{target} cannot be written: choose a name that ends in {" or ".join(_SUFFIXES)}')
    return target


def _with_ordered_header(content: bytes) -> bytes:
    """The same file with its metadata in order of names, which safetensors writes in random order: equal hashes."""
    size = int.from_bytes(content[:_HEADER_SIZE], 'little')
    header = json.loads(content[_HEADER_SIZE : _HEADER_SIZE + size])
    header['__metadata__'] = dict(sorted(header['__metadata__'].items()))
    ordered = json.dumps(header, separators=(',', ':'), ensure_ascii=False).encode()
    ordered += b' ' * (-len(ordered) % _HEADER_SIZE)  # tensors start at multiples of eight bytes
    return len(ordered).to_bytes(_HEADER_SIZE, 'little') + ordered + content[_HEADER_SIZE + size :]


def to_plain(value: Any) -> Any:
    """Values that JSON and a restricted unpickler know: numbers of NumPy and tensors become Python's, the rest text."""
    if isinstance(value, Mapping):
        return {str(name): to_plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int, float)) and type(value).__module__ == 'builtins':
        return value
    if hasattr(value, 'tolist'):  # NumPy's arrays and scalars, tensors
        return to_plain(value.tolist())
    return str(value)
