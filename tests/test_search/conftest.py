"""A tiny model with its weights, and photos for it."""

from pathlib import Path

import numpy as np
import pytest
from counting_model import CountingViT, write_photo, write_weights
from tiny_run import write_config, write_images

from glsim_mm.search import Encoder


@pytest.fixture
def counter():
    """:class:`CountingViT`, set back to zero."""
    CountingViT.count, CountingViT.stop_before = 0, None
    yield CountingViT
    CountingViT.count, CountingViT.stop_before = 0, None


@pytest.fixture(scope='session')
def tiny_model(tmp_path_factory) -> tuple[Path, Path, Path]:
    """Config, checkpoint with random weights, and a folder of 8 images in two sub-folders."""
    folder = tmp_path_factory.mktemp('encoder')
    images = write_images(folder / 'images')
    config = write_config(folder / 'tiny_encoder.py', images, "model['backbone']['type'] = 'CountingViT'\n")
    return config, write_weights(config, folder / 'weights.pth'), images / 'val'


@pytest.fixture(scope='session')
def encoder(tiny_model) -> Encoder:
    return Encoder(*tiny_model[:2], device='cpu')


@pytest.fixture
def photos(tmp_path) -> Path:
    """Ten photos of different content: six in the sub-folders a and b, four in the folder itself."""
    rng = np.random.default_rng(1)
    for name in (
        'a/0.png',
        'a/1.png',
        'a/2.png',
        'b/0.png',
        'b/1.png',
        'b/deep/2.png',
        '0.png',
        '1.png',
        '2.png',
        '3.png',
    ):
        write_photo(tmp_path / 'photos' / name, rng)
    return tmp_path / 'photos'
