"""A tiny GLSim encoder that counts the images it encodes, its weights, and photos for it."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from PIL import Image
from torch import Tensor

from glsim_mm.models.backbones import GLSimViT


@MODELS.register_module()
class CountingViT(GLSimViT):
    """Counts the images that it encodes, crops not, and stops the run before a certain one."""

    count = 0
    stop_before: int | None = None
    stop: Callable[[], None] | None = None

    def forward(self, images: Tensor, is_crop: bool = False, output: str = 'tokens') -> tuple[Tensor, ...]:
        if not is_crop:
            if self.stop_before is not None and CountingViT.count + len(images) > self.stop_before:
                type(self).stop()
            CountingViT.count += len(images)
        return super().forward(images, is_crop, output)


def press_ctrl_c() -> None:
    raise KeyboardInterrupt


def press_ctrl_c_before(patch: pytest.MonkeyPatch, owner: object, name: str, times: int = 2) -> None:
    """Send SIGINT to this process before the first calls of a function."""
    function, calls = getattr(owner, name), []

    def call(*args: Any, **options: Any) -> Any:
        calls.append(name)
        if len(calls) <= times:
            os.kill(os.getpid(), signal.SIGINT)
        return function(*args, **options)

    patch.setattr(owner, name, call)


def kill_dash_nine() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def write_photo(path: Path, rng: np.random.Generator, shape: tuple[int, int] = (40, 48)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(path)
    return path


def write_weights(config: Path, path: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    model = MODELS.build(dict(Config.fromfile(config).model))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, path)
    return path
