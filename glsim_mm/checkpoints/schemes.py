"""Other projects' weights as addresses of mmengine: ``init_cfg=dict(type='Pretrained', checkpoint='timm://...')``.

Importing this module registers the schemes of :data:`~glsim_mm.checkpoints.sources.SCHEMES`.
"""

from collections.abc import Callable
from typing import Any

from mmengine.logging import MMLogger
from mmengine.runner import CheckpointLoader

from ..errors import GLSimError
from .files import Checkpoint
from .layouts import find_layout, read_vit
from .mmpretrain_vit import to_mmpretrain
from .official_config import official_model_config
from .official_glsim import read_official
from .sources import SCHEMES, parse_address, read_address


def load_whole(address: str) -> dict:
    """A checkpoint with this project's names: the whole model of a GLSim checkpoint, else an encoder.

    Args:
        address: A path, ``SCHEME://FILE`` or ``timm://NAME``.

    Returns:
        ``state_dict`` with ``backbone.`` before mmpretrain's ViT names, a linear classifier as ``head.fc``; ``meta``
        with where it came from; ``unread`` with what no forward pass reads.

    Raises:
        GLSimError: If it cannot be had or read, or the encoder needs ``TimmViT``.
    """
    parsed = parse_address(address)
    checkpoint = read_address(address)
    expected = parsed.layout if parsed and parsed.layout != 'timm' else None
    found = find_layout(checkpoint.tensors, expected)
    if found and found[0].kind == 'glsim':
        return _load_official(checkpoint, address, found[1])
    weights = read_vit(checkpoint.tensors, address, expected)
    try:
        encoder, left_out = to_mmpretrain(weights.tensors)
    except GLSimError as error:
        raise GLSimError(f'{address}: {error}') from error
    head = {name: weights.tensors[name] for name in ('head.weight', 'head.bias') if name in weights.tensors}
    state_dict = {f'backbone.{name}': tensor for name, tensor in encoder.items()}
    state_dict.update({name.replace('head.', 'head.fc.'): tensor for name, tensor in head.items()})
    left_out = [*(name for name in left_out if name not in head), *weights.left_out]
    if found and found[0].kind == 'mmpretrain' and found[1] == 'backbone.':  # a whole model of ours stays whole
        state_dict, left_out = checkpoint.tensors, []
    meta = dict(checkpoint.meta, layout=weights.layout, source=address, left_out=left_out)
    return dict(state_dict=state_dict, meta=meta, unread=checkpoint.unread)


def _load_official(checkpoint: Checkpoint, address: str, prefix: str) -> dict:
    """The authors' whole model under this project's names."""
    tensors = {name.removeprefix(prefix): tensor for name, tensor in checkpoint.tensors.items()}
    try:
        state_dict, unread = read_official(tensors)
        model = official_model_config(checkpoint.settings, tensors)
    except GLSimError as error:
        raise GLSimError(f'{address}: {error}') from error
    meta = dict(layout='glsim', source=address, settings=checkpoint.settings, model=model)
    return dict(state_dict=state_dict, meta=meta, unread=unread)


def register_schemes() -> None:
    """Make mmengine's ``CheckpointLoader`` know the schemes; may be repeated."""
    for scheme in SCHEMES:
        CheckpointLoader.register_scheme(f'{scheme}://', _loader(scheme), force=True)


def _loader(scheme: str) -> Callable[..., dict]:
    def load(filename: str, map_location: Any = None) -> dict:
        checkpoint = load_whole(filename)
        state_dict, left_out = checkpoint['state_dict'], checkpoint['meta'].get('left_out', [])
        logger = MMLogger.get_current_instance()
        logger.info(f'{filename}: {len(state_dict)} tensors in {checkpoint["meta"]["layout"]} layout')
        if left_out:
            logger.info(f'{filename}: left out, as no part of the encoder: {", ".join(left_out)}')
        if map_location is not None and not callable(map_location):
            checkpoint['state_dict'] = {name: tensor.to(map_location) for name, tensor in state_dict.items()}
        return checkpoint

    load.__name__ = f'load_from_{scheme}'  # mmengine logs what follows the tenth letter
    return load


register_schemes()
