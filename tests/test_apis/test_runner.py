"""Runs by way of Python."""

import shutil

import mmengine
import pytest
import torch
from mmpretrain.registry import MODELS
from tiny_run import read_log, write_config, write_images

from glsim_mm.apis import (
    allow_missing_classes,
    build_runner,
    load_config,
    run_testing,
    run_training,
    set_test_options,
)
from glsim_mm.apis.model import build_model
from glsim_mm.checkpoints.checkpoint_files import load_checkpoint_file
from glsim_mm.errors import GLSimError
from glsim_mm.models import GLSimViT


def test_config_is_not_changed(tmp_path):
    path = write_config(tmp_path / 'tiny_unchanged.py', write_images(tmp_path / 'images'))
    cfg = load_config(path, dict(work_dir=str(tmp_path / 'work'), compile=False))
    before = cfg.pretty_text
    build_runner(cfg)
    assert cfg.pretty_text == before


def test_missing_checkpoint_is_told_before_anything_is_built(tmp_path):
    path = write_config(tmp_path / 'tiny_nothing.py', tmp_path / 'no images')
    cfg = load_config(path, dict(work_dir=str(tmp_path / 'work'), load_from='nowhere.pth'))
    for run in (run_training, run_testing):
        with pytest.raises(GLSimError, match=r'nowhere\.pth does not exist'):
            run(cfg)
    assert not (tmp_path / 'work').exists()


@pytest.mark.parametrize('out, item', [('a.txt', 'pred'), ('a.json', 'pred'), ('a.txt', 'metrics')])
def test_formats_of_results(tmp_path, out, item):
    path = write_config(tmp_path / 'tiny_out.py', tmp_path / 'no images')
    with pytest.raises(GLSimError, match='choose another name'):
        run_testing(load_config(path), out, item)


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp('named') / 'images')


def run_labels(images, folder, names, extra='', missing=False):
    """Test a checkpoint that names its classes; return the labels that its predictions are compared with."""
    folder.mkdir(exist_ok=True)
    cfg = load_config(write_config(folder / 'tiny_named.py', images, extra), dict(work_dir=str(folder / 'work')))
    checkpoint, out = folder / 'named.pth', folder / 'out.pkl'
    state = build_model(cfg).state_dict()
    torch.save(dict(state_dict=state, meta=dict(dataset_meta=dict(classes=names))), checkpoint)
    set_test_options(cfg, str(checkpoint))
    if not names:
        torch.save(dict(state_dict=state), checkpoint)
    if missing:
        allow_missing_classes(cfg)
    run_testing(cfg, str(out))
    return [int(sample['gt_label']) for sample in mmengine.load(out)]


def test_a_test_numbers_classes_as_the_checkpoint_names_them(images, tmp_path):
    assert run_labels(images, tmp_path / 'same', ('plain', 'striped')) == [0] * 4 + [1] * 4
    assert run_labels(images, tmp_path / 'reversed', ('striped', 'plain')) == [1] * 4 + [0] * 4
    # a config without the hooks of this project
    assert run_labels(images, tmp_path / 'no_hooks', ('striped', 'plain'), 'custom_hooks = []') == [1] * 4 + [0] * 4
    only_search = "test_evaluator = dict(type='RetrievalMetrics')\ncustom_hooks = [dict(type='KeepEmbeddingsHook')]\n"
    assert run_labels(images, tmp_path / 'search', ('other', 'names'), only_search) == [0] * 4 + [1] * 4


def test_unknown_and_missing_classes_end_a_test(images, tmp_path):
    with pytest.raises(GLSimError, match=r"test split in .*images/val has 4 photos of the class 'plain', .*'Plain'"):
        run_labels(images, tmp_path / 'capitals', ('Plain', 'striped'))
    fewer = shutil.copytree(images, tmp_path / 'fewer')
    shutil.rmtree(fewer / 'val/plain')
    with pytest.raises(GLSimError, match=r"fewer/val lacks the class 'plain' of the checkpoint .*named\.pth; "):
        run_labels(fewer, tmp_path / 'lacks', ('plain', 'striped'))
    assert run_labels(fewer, tmp_path / 'accepts', ('plain', 'striped'), missing=True) == [1] * 4


def test_a_checkpoint_that_names_no_classes_is_told(images, tmp_path):
    assert run_labels(images, tmp_path, ()) == [0] * 4 + [1] * 4
    told = [line for line in read_log(tmp_path / 'work').splitlines() if 'does not name its classes' in line]
    assert len(told) == 1
    assert (
        f'the checkpoint {tmp_path / "named.pth"} does not name its classes: those of the data are compared' in told[0]
    )
    assert run_labels(images, tmp_path / 'named', ('plain', 'striped')) == [0] * 4 + [1] * 4
    assert 'does not name its classes' not in read_log(tmp_path / 'named/work')


@pytest.mark.parametrize(
    'part, fields, expected',
    [
        ('backbone', dict(frozen_stages=9), 'frozen_stages must be -1 to 2'),
        ('backbone', dict(depth=9), "GLSimViT has no field 'depth'"),
        ('head', dict(_delete_=True, type='LinearClsHead', num_classes=2, in_channels=32), 'LinearClsHead classifies'),
    ],
)
def test_a_model_that_cannot_be_built_is_told_before_all_else(images, tmp_path, capsys, part, fields, expected):
    cfg = load_config(write_config(tmp_path / 'tiny_parts.py', images), dict(work_dir=str(tmp_path / 'work')))
    cfg.merge_from_dict(dict(model={part: fields}))
    with pytest.raises(GLSimError, match=expected):
        build_runner(cfg)
    assert not capsys.readouterr().out
    assert not (tmp_path / 'work').exists()


@MODELS.register_module()
class NeedsMemory(GLSimViT):
    """Looks at its own weights when it is built, which the check beforehand cannot."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.largest = float(self.cls_token.max())


def test_a_model_that_cannot_be_checked_beforehand_is_built(images, tmp_path):
    cfg = load_config(write_config(tmp_path / 'tiny_memory.py', images), dict(work_dir=str(tmp_path / 'work')))
    cfg.model.backbone.type = 'NeedsMemory'
    runner = build_runner(cfg)
    assert isinstance(runner.model.backbone.largest, float)
    assert {value.device.type for value in runner.model.state_dict().values()} == {'cpu'}


def test_the_training_split_names_the_classes_of_validation(images, tmp_path):
    cfg = load_config(write_config(tmp_path / 'tiny_order.py', images), dict(work_dir=str(tmp_path / 'work')))
    cfg.train_dataloader.dataset.metainfo = dict(classes=['striped', 'plain'])
    cfg.train_cfg.max_epochs = 1
    runner = run_training(cfg)
    for dataset in (runner.train_dataloader.dataset, runner.val_dataloader.dataset):
        assert dataset.get_gt_labels().tolist() == [1] * 4 + [0] * 4
    assert runner.val_evaluator.dataset_meta['classes'] == ('striped', 'plain')
    content = load_checkpoint_file(tmp_path / 'work/epoch_1.pth')
    assert tuple(content['meta']['dataset_meta']['classes']) == ('striped', 'plain')
