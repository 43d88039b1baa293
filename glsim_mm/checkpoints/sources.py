"""Weights by their address: a file, a name in timm's hub, or whatever mmengine's loaders know."""

from pathlib import Path
from typing import NamedTuple

from mmengine.runner import CheckpointLoader
from torch import Tensor

from ..compat import apply_runtime_fixes
from ..errors import GLSimError, one_line
from .files import Checkpoint, read_checkpoint, to_float32
from .layouts import LAYOUTS, read_vit
from .vit_weights import VitWeights

ANY = 'vit'
"""The scheme that tells the layout by the names."""

SCHEMES = (ANY, *LAYOUTS)
"""Schemes of addresses, ``SCHEME://FILE``; each but the first expects one layout."""


class Address(NamedTuple):
    """An address taken apart: the layout to expect (None to detect it) and the file or name."""

    layout: str | None
    target: str


def parse_address(address: str) -> Address | None:
    """Take ``SCHEME://FILE``, or a plain path, apart.

    Args:
        address: For example ``'dinov2://dinov2_vits14_pretrain.pth'``.

    Returns:
        None for a scheme that is none of :data:`SCHEMES`, such as ``https``.
    """
    scheme, separator, target = address.partition('://')
    if not separator:
        return Address(None, address)
    if scheme not in SCHEMES:
        return None
    return Address(None if scheme == ANY else scheme, target)


def read_address(address: str) -> Checkpoint:
    """Read what is at an address, under the names that it has there.

    Args:
        address: A path, ``SCHEME://FILE``, ``timm://NAME``, or an address of mmengine's.

    Returns:
        Its contents.

    Raises:
        GLSimError: If it cannot be had or read.
    """
    parsed = parse_address(address)
    if parsed is None:
        apply_runtime_fixes()  # else mmengine may unpickle what it downloads
        content = CheckpointLoader.load_checkpoint(address, 'cpu')
        weights = content.get('state_dict', content)
        return Checkpoint(to_float32(weights), {}, content.get('meta') or {}, {})
    if parsed.layout == 'timm' and not Path(parsed.target).expanduser().exists():
        return Checkpoint(fetch_from_timm(parsed.target), {}, {}, {})
    return read_checkpoint(parsed.target)


def read_backbone(address: str, layout: str | None = None) -> VitWeights:
    """Weights of an encoder at an address, under timm's names.

    Args:
        address: As :func:`read_address` takes it.
        layout: Layout to expect. Defaults to the address's, else it is detected.

    Returns:
        The encoder.

    Raises:
        GLSimError: If it cannot be had or read, or is no encoder of that layout.
    """
    parsed = parse_address(address)
    expected = layout or (parsed.layout if parsed else None)
    # What timm's hub has under a name may be in its authors' layout.
    if expected == 'timm':
        expected = None
    return read_vit(read_address(address).tensors, address, expected)


def fetch_from_timm(name: str) -> dict[str, Tensor]:
    """Weights of one of timm's models, from Hugging Face's cache or else its hub; the model is not built.

    Args:
        name: For example ``'vit_base_patch16_224.augreg_in21k'``.

    Returns:
        float32, under the names of the file, usually timm's.

    Raises:
        GLSimError: If timm has no such name, or the file can be had neither from the cache nor from the hub.
    """
    from timm.models import get_pretrained_cfg
    from timm.models._hub import load_state_dict_from_hf

    try:
        cfg = get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        raise _unknown_name(name) from error
    if cfg is None or not cfg.hf_hub_id:
        raise _unknown_name(name)
    repository = cfg.hf_hub_id + name if cfg.hf_hub_id.endswith('/') else cfg.hf_hub_id
    options = dict(filename=cfg.hf_hub_filename) if cfg.hf_hub_filename else {}
    try:
        return to_float32(load_state_dict_from_hf(repository, weights_only=True, **options))
    except OSError as error:
        raise GLSimError(
            f'timm://{name} is not in the cache and cannot be fetched ({one_line(error, 100)}); check the connection, '
            'or get the file by other means and give its path'
        ) from error


def _unknown_name(name: str) -> GLSimError:
    return GLSimError(
        f'timm://{name}: there is no such file, and timm has no pretrained weights of that name; see '
        'timm.list_pretrained("*vit*")'
    )
