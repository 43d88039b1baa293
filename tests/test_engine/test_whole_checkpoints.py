"""Checkpoints on a disk that gets full, and older ones that go only when the newer one is there."""

import re
from pathlib import Path

import pytest
from full_disk import files_up_to
from tiny_run import read_log, write_config, write_images

from glsim_mm.apis import build_runner, load_config, run_training
from glsim_mm.apis.runner import keep_checkpoints_whole
from glsim_mm.checkpoints.checkpoint_files import load_checkpoint_file
from glsim_mm.engine.hooks import WholeCheckpointHook
from glsim_mm.errors import GLSimError

ONE = 'default_hooks.checkpoint.max_keep_ckpts'


@pytest.fixture(scope='module')
def images(tmp_path_factory) -> Path:
    return write_images(tmp_path_factory.mktemp('whole') / 'images')


def config_of(images: Path, folder: Path, **fields: object):
    path = write_config(folder / 'tiny_whole.py', images)
    return load_config(path, {'work_dir': str(folder / 'work'), ONE: 1, **fields})


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file() and path.suffix != '.py'}


def test_a_full_disk_keeps_the_last_checkpoint_whole(images, tmp_path):
    work = tmp_path / 'work'
    run_training(config_of(images, tmp_path, **{'train_cfg.max_epochs': 1}))
    before = (work / 'epoch_1.pth').read_bytes()
    best = next(work.glob('best_*'))
    resumed = config_of(images, tmp_path, resume=True, load_from=str(work / 'epoch_1.pth'))
    with files_up_to(len(before) - 1000), pytest.raises(GLSimError) as caught:
        run_training(resumed)
    sentence = rf'{work}/epoch_2.pth cannot be written \(.*\); free some space.*; --resume goes on from (.*)'
    assert re.fullmatch(sentence, str(caught.value))[1] == str(work / 'epoch_1.pth')
    assert (work / 'epoch_1.pth').read_bytes() == before
    assert (work / 'last_checkpoint').read_text() == str(work / 'epoch_1.pth')
    assert names(work) == {'epoch_1.pth', 'last_checkpoint', best.name}  # no part of another file


def test_older_checkpoints_are_removed_afterwards(images, tmp_path, monkeypatch):
    work, seen = tmp_path / 'work', []
    monkeypatch.setattr(WholeCheckpointHook, '_remove', lambda self, path: seen.append((path, names(work))))
    fields = {'train_cfg.max_epochs': 3, 'param_scheduler': None}
    cfg = config_of(images, tmp_path, **fields)
    cfg.default_hooks.checkpoint.update(save_best='loss_of_test', rule='less')
    runner = build_runner(cfg)
    scores = iter((3.0, 4.0, 1.0))
    monkeypatch.setattr(type(runner.val_loop.evaluator), 'evaluate', lambda *_: {'loss_of_test': next(scores)})
    runner.train()
    removed = [Path(path).name for path, _ in seen]
    assert removed == ['epoch_1.pth', 'epoch_2.pth', 'best_loss_of_test_epoch_1.pth']
    assert ['epoch_2.pth' in seen[0][1], 'epoch_3.pth' in seen[1][1]] == [True, True]
    assert 'best_loss_of_test_epoch_3.pth' in seen[2][1]
    hub = load_checkpoint_file(work / 'epoch_3.pth')['message_hub']['runtime_info']
    assert (Path(hub['best_ckpt']).name, hub['best_score']) == ('best_loss_of_test_epoch_3.pth', 1.0)
    assert hub['keep_ckpt_ids'] == [3] and Path(hub['last_ckpt']).name == 'epoch_3.pth'
    assert 'The previous best checkpoint' in read_log(work)


def test_what_is_kept_of_a_whole_training(images, tmp_path):
    fields = {'train_cfg.max_epochs': 3, 'param_scheduler': None, ONE: 2, 'val_cfg': None, 'val_dataloader': None}
    cfg = config_of(images, tmp_path, **fields, val_evaluator=None)
    cfg.default_hooks.checkpoint.update(save_best=None, published_keys=['meta', 'state_dict'])
    run_training(cfg)
    found = names(tmp_path / 'work')
    (published,) = [name for name in found if re.fullmatch(r'epoch_3-[0-9a-f]{8}\.pth', name)]
    assert found == {'epoch_2.pth', 'epoch_3.pth', 'last_checkpoint', published}
    assert set(load_checkpoint_file(tmp_path / 'work' / published)) == {'meta', 'state_dict'}


@pytest.mark.parametrize('hook', [None, dict(type='CheckpointHook', interval=7), dict(type='mmengine.CheckpointHook')])
def test_configs_that_inherit_nothing_from_here(hook, images, tmp_path):
    cfg = config_of(images, tmp_path)
    cfg.default_hooks.pop('checkpoint')
    if hook:
        cfg.default_hooks.checkpoint = hook
    (found,) = [one for one in build_runner(cfg).hooks if isinstance(one, WholeCheckpointHook)]
    assert found.interval == (hook or {}).get('interval', -1 if hook else 1)


def test_hooks_of_ones_own_stay(images, tmp_path):
    cfg = config_of(images, tmp_path)
    cfg.default_hooks.checkpoint = dict(type='MyCheckpointHook')
    keep_checkpoints_whole(cfg)
    assert cfg.default_hooks.checkpoint == dict(type='MyCheckpointHook')
