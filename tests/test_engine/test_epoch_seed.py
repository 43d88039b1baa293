"""Random numbers of an epoch."""

import random

import numpy as np
import torch
from tiny_run import write_config, write_images

from glsim_mm.apis import build_runner, load_config
from glsim_mm.engine.hooks import EpochSeedHook


def test_numbers_depend_on_the_epoch_and_not_on_the_past(tmp_path):
    config = write_config(tmp_path / 'tiny_seed.py', write_images(tmp_path / 'images'))
    runner = build_runner(load_config(config, dict(work_dir=str(tmp_path / 'work'))))
    loop = runner.train_loop

    def numbers(epoch: int) -> tuple:
        loop._epoch = epoch
        EpochSeedHook().before_train_epoch(runner)
        return float(torch.rand(())), float(np.random.rand()), random.random()

    first, second = numbers(0), numbers(1)
    assert not set(first) & set(second)
    assert numbers(1) == second
    assert numbers(0) == first
