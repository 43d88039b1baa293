"""Writing checkpoints: .pth as mmengine has them, or .safetensors with the same in its header; whole or not at all."""

import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..compat.checkpoints import SAFETENSORS_META, SAFETENSORS_UNREAD
from ..errors import GLSimError

_HEADER_SIZE = 8  # bytes of the number that says how long a safetensors header is
SUFFIXES = ('.pth', '.safetensors')


def write_checkpoint(
    target: str | Path,
    tensors: Mapping[str, Tensor],
    meta: Mapping[str, Any] | None = None,
    unread: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write tensors with what is known of them.

    Args:
        target: ``.pth`` or ``.safetensors``; its folder is made, an existing file replaced at once.
        tensors: Tensors by name.
        meta: Plain values. Read back as ``meta`` by :mod:`glsim_mm`; in a ``.safetensors`` file as JSON, in which
            tuples are lists.
        unread: Tensors that no forward pass reads.

    Returns:
        The file.

    Raises:
        GLSimError: If the name has another suffix or the file cannot be written.
    """
    target = check_target(target)
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    if target.suffix == '.pth':
        content = dict(meta=to_plain(dict(meta or {})), state_dict=contiguous)
        if unread:
            content['unread'] = dict(unread)
        buffer = io.BytesIO()  # torch.save would write the name of the file into it, and so into its hash
        torch.save(content, buffer)
        return replace_with(target, lambda partial: partial.write_bytes(buffer.getbuffer()))

    from safetensors.torch import save

    # Tensors that share memory are refused by safetensors: give each its own.
    named = {name: tensor.clone() for name, tensor in contiguous.items()}
    named.update({SAFETENSORS_UNREAD + name: tensor.clone().contiguous() for name, tensor in (unread or {}).items()})
    header = {'format': 'pt'}
    if meta is not None:
        header[SAFETENSORS_META] = json.dumps(to_plain(dict(meta)))
    whole = _with_ordered_header(save(named, metadata=header))
    return replace_with(target, lambda partial: partial.write_bytes(whole))


def check_target(target: str | Path) -> Path:
    """Path of a file to write; raises :class:`GLSimError` for a suffix that is not written."""
    target = Path(target).expanduser()
    if target.suffix not in SUFFIXES:
        raise GLSimError(f'{target} cannot be written: choose a name that ends in {" or ".join(SUFFIXES)}')
    return target


def replace_with(target: Path, write: Callable[[Path], object]) -> Path:
    """Let ``write`` make a file beside the target and put it in the target's place when it is complete."""
    partial = target.with_name(f'{target.name}.part{os.getpid()}')
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        partial.replace(target)
    except OSError as error:
        raise GLSimError(f'{target} cannot be written ({error.strerror or error}); choose another place') from error
    finally:
        if partial.exists():
            partial.unlink()
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
