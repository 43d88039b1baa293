"""Reading golden files and building the model they were made with."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

LOCAL_DIR = Path(__file__).parent / 'golden'
TOLERANCE = 1e-4


class Golden(NamedTuple):
    """One golden file: settings, the authors' state dict and every other array."""

    settings: dict
    state_dict: dict[str, Tensor]
    arrays: dict[str, Tensor]


def load_golden(folder: Path, name: str) -> Golden:
    """Read ``name.npz`` and ``name.json``."""
    with np.load(folder / f'{name}.npz', allow_pickle=False) as file:
        tensors = {key: torch.from_numpy(np.asarray(file[key])) for key in file.files}
    state = {key.removeprefix('state_dict/'): value for key, value in tensors.items() if key.startswith('state_dict/')}
    arrays = {key: value for key, value in tensors.items() if not key.startswith('state_dict/')}
    if arrays['images'].dtype == torch.uint8:
        arrays['images'] = arrays['images'].float() / 127.5 - 1
    settings = json.loads((folder / f'{name}.json').read_text())
    return Golden(settings, {key: value.float() for key, value in state.items()}, arrays)


def model_config(settings: dict) -> dict:
    """Config of the GLSimClassifier that a golden file describes."""
    norm_cfg = dict(type='LN', eps=settings['layer_norm_eps'])
    arch = {key: settings[key] for key in ('embed_dims', 'num_layers', 'num_heads', 'feedforward_channels')}
    return dict(
        type='mmpretrain.GLSimClassifier',
        backbone=dict(
            type='GLSimViT',
            arch=arch,
            img_size=settings['image_size'],
            patch_size=settings['patch_size'],
            norm_cfg=norm_cfg,
        ),
        neck=dict(
            type='GLSimSelector',
            similarity=settings['similarity'],
            top_o=settings['top_o'],
            box_end=settings.get('box_end', 'exclusive'),
        ),
        head=dict(
            type='AggregatorHead',
            num_classes=settings['num_classes'],
            in_channels=settings['embed_dims'],
            num_layers=settings['aggregator_layers'],
            num_heads=settings['aggregator_heads'],
            norm_cfg=norm_cfg,
        ),
    )


def build_golden_model(golden: Golden) -> nn.Module:
    """The model with the golden weights, in eval mode."""
    from mmpretrain.registry import MODELS

    from glsim_mm.checkpoints.authors_names import read_official

    model = MODELS.build(model_config(golden.settings))
    model.load_state_dict(read_official(golden.state_dict)[0], strict=True)
    return model.eval()
