"""Which model made a gallery: hashes of its weights, its config and its test pipeline."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config
from torch import nn

from glsim_mm.models.utils import hash_weights
from retrieval.gallery.contract import Fingerprint

from .pipeline import Step

# What changes training, or where weights came from, and no embedding.
_WITHOUT_EFFECT = {
    'checkpoint_path',
    'frozen_stages',
    'init_cfg',
    'loss',
    'prototype',
    'pretrained',
    'sequence_weights',
    'test_cfg',
    'topk',
    'cal_acc',
    'train_cfg',
    'with_cp',
}


def fingerprint_of(module: nn.Module, cfg: Config, steps: Sequence[Step], description: str = '') -> Fingerprint:
    """Fingerprint of a model with its weights.

    Args:
        module: What makes the embeddings, with its weights.
        cfg: Its config.
        steps: Test pipeline, without loading.
        description: What messages call the model.

    Returns:
        Three SHA-256 hashes, hexadecimal. Settings that change no embedding (initialisation, frozen stages, losses) do
        not count.
    """
    preprocessor = cfg.get('data_preprocessor') or {}
    return Fingerprint(
        weights=hash_weights(module),
        config=_hash(dict(model=cfg.model, data_preprocessor=cfg.model.get('data_preprocessor') or preprocessor)),
        pipeline=_hash(list(steps)),
        description=description,
    )


def _hash(settings: Any) -> str:
    return hashlib.sha256(json.dumps(_plain(settings), sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Settings in types that JSON knows; names of registered classes stand for the classes themselves."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if key not in _WITHOUT_EFFECT}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return getattr(value, '__name__', None) or repr(value)
