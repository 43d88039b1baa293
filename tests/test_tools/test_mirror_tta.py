"""Testing on an image and its mirror image."""

import pytest
import torch
from mmengine.registry import DefaultScope
from tiny_run import call_tool, write_config

from glsim_mm.apis import build_runner, load_config, set_test_options
from glsim_mm.models import MirrorTTA


@pytest.fixture
def runner(tiny_images, tmp_path):
    """A runner that tests a tiny model with --tta."""
    config = write_config(tmp_path / 'tiny_mirror.py', tiny_images)
    call_tool('train', config, '--work-dir', tmp_path / 'work', '--cfg-options', 'train_cfg.max_epochs=1')
    cfg = load_config(config, dict(work_dir=str(tmp_path / 'work')))
    set_test_options(cfg, str(tmp_path / 'work' / 'epoch_1.pth'), tta=True)
    runner = build_runner(cfg)
    runner.load_or_resume()
    return runner


def test_logits_of_both_views_are_averaged(runner):
    assert isinstance(runner.model, MirrorTTA)
    runner.model.eval()
    batch = next(iter(runner.test_dataloader))
    with DefaultScope.overwrite_default_scope('mmpretrain'), torch.no_grad():
        merged = runner.model.test_step(batch)
        mirrored = [bool(samples[0].flip) for samples in batch['data_samples']]
        assert sorted(mirrored) == [False, True]
        torch.testing.assert_close(batch['inputs'][0][1], batch['inputs'][1][1].flip(-1))
        classifier = runner.model.module
        views = [classifier.data_preprocessor(dict(inputs=list(view)))['inputs'] for view in batch['inputs']]
        logits = [classifier(view, mode='tensor') for view in views]
        plain = classifier(views[mirrored.index(False)], mode='predict')
    logits = [output[0] if isinstance(output, tuple) else output for output in logits]
    expected = ((logits[0] + logits[1]) / 2).softmax(dim=-1)
    found = torch.stack([sample.pred_score for sample in merged])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert [int(sample.pred_label) for sample in merged] == expected.argmax(dim=1).tolist()
    for sample, unmirrored in zip(merged, plain):
        torch.testing.assert_close(sample.selected_box, unmirrored.selected_box)


def test_labels_are_kept(runner):
    runner.model.eval()
    batch = next(iter(runner.test_dataloader))
    merged = runner.model.test_step(batch)
    labels = [int(sample.gt_label) for sample in batch['data_samples'][0]]
    assert [int(sample.gt_label) for sample in merged] == labels
