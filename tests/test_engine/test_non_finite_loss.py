"""A model that is no longer made of numbers does not take the place of good checkpoints."""

import pytest
import torch
from tiny_run import write_config, write_images

from glsim_mm.apis import build_runner, load_config
from glsim_mm.engine.hooks import NonFiniteLossHook
from glsim_mm.engine.hooks.training_guards import weights_are_finite
from glsim_mm.errors import GLSimError

ITERATION_BASED = """
train_cfg = dict(_delete_=True, by_epoch=False, max_iters=6, val_interval=2)
train_dataloader = dict(sampler=dict(type='InfiniteSampler', shuffle=True))
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=1, max_keep_ckpts=1))
log_processor = dict(by_epoch=False)
param_scheduler = [dict(type='MultiStepLR', by_epoch=False, gamma=1e30, milestones=[2])]
"""


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / 'images')


def test_iteration_based_training_keeps_last_good_checkpoint(tmp_path, images):
    path = write_config(tmp_path / 'tiny_iterations.py', images)
    child = tmp_path / 'tiny_iterations_child.py'
    child.write_text(f"_base_ = ['{path}']\n{ITERATION_BASED}")
    runner = build_runner(load_config(child, dict(work_dir=str(tmp_path / 'work'))))
    with pytest.raises(GLSimError, match=r'became NaN or infinite .*iter_\d\.pth') as error:
        runner.train()
    left = list((tmp_path / 'work').glob('iter_*.pth'))
    assert len(left) == 1
    assert str(left[0]) in str(error.value)
    assert all(torch.isfinite(value).all() for value in torch_load_weights(left[0]).values())


def torch_load_weights(path):
    from glsim_mm.checkpoints.checkpoint_files import load_checkpoint_file

    return load_checkpoint_file(path)['state_dict']


def test_first_broken_iteration_is_named_when_it_is_read_later(tmp_path, images):
    config = write_config(tmp_path / 'tiny_first_broken.py', images)
    runner = build_runner(load_config(config, dict(work_dir=str(tmp_path / 'work'))))
    assert runner.train_loop.max_iters > 0  # builds the loop
    hook = NonFiniteLossHook(interval=3)
    hook.before_train(runner)
    for iteration, loss in enumerate([1.0, float('inf'), 1.0]):
        runner.train_loop._iter = iteration
        if iteration < 2:
            hook.after_train_iter(runner, iteration, outputs=dict(loss=torch.tensor(loss)))
    with pytest.raises(GLSimError, match='infinite in iteration 2; no checkpoint was written yet'):
        hook.after_train_iter(runner, 2, outputs=dict(loss=torch.tensor(1.0)))


def test_broken_weights_behind_a_finite_loss(tmp_path, images):
    config = write_config(tmp_path / 'tiny_broken_weights.py', images)
    runner = build_runner(load_config(config, dict(work_dir=str(tmp_path / 'work'))))
    assert runner.train_loop.max_iters > 0
    hook = NonFiniteLossHook()
    hook.before_train(runner)
    hook.after_train_iter(runner, 0, outputs=dict(loss=torch.tensor(1.0)))
    hook.after_train_epoch(runner)
    with torch.no_grad():
        next(runner.model.parameters()).view(-1)[0] = float('nan')
    with pytest.raises(GLSimError, match='weights became NaN or infinite by iteration 1'):
        hook.after_train_epoch(runner)


def test_weights():
    model = torch.nn.Linear(2, 1)
    assert weights_are_finite(model)
    assert weights_are_finite(torch.nn.Identity())
    with torch.no_grad():
        model.bias[0] = float('inf')
    assert not weights_are_finite(model)
