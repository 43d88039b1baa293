"""A tiny classifier with a test pipeline that exports, and its exported files."""

from pathlib import Path

import torch
from mmpretrain.registry import MODELS
from tiny_run import write_config, write_images

from glsim_mm.apis import load_config

PIPELINE = """
test_pipeline = [
    dict(type='LoadImage', on_unreadable='blank'),
    dict(type='Resize', scale=(44, 36), backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=(40, 32)),
    dict(type='PackInputs')]
test_dataloader['dataset']['pipeline'] = test_pipeline
val_dataloader = test_dataloader
"""


def write_model(folder: Path, extra: str = '') -> tuple[Path, Path, Path]:
    """Config, checkpoint with random weights and class names, folder of images; non-square inputs of 32 x 40."""
    images = write_images(folder / 'images', side=48)
    config = write_config(folder / f'{folder.name}.py', images, PIPELINE + extra)
    cfg = load_config(config)
    torch.manual_seed(0)
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    model.init_weights()
    for parameter in model.parameters():  # far from uniform predictions and boxes
        torch.nn.init.normal_(parameter, std=0.2)
    weights = folder / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=('plain', 'striped')))), weights)
    return config, weights, images / 'val'
