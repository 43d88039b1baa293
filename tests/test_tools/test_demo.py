"""The demo's configs and command lines: render, predict, draw."""

from pathlib import Path

import pytest
import torch
from mmengine import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from PIL import Image
from tiny_run import call_tool

import glsim_mm  # noqa: F401  (registers the modules)
from glsim_mm.apis import PictureOptions, draw_test_set
from glsim_mm.apis.dataset_pictures import SHEET
from glsim_mm.errors import GLSimError
from glsim_mm.images.demo_set import DemoSettings, render_demo

pytestmark = pytest.mark.slow

CONFIGS = ['glsim_vit_demo.py', 'vit_demo.py']


@pytest.fixture(scope='module')
def demo(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('demo') / 'small demo'
    render_demo(folder, DemoSettings(train_per_class=1, test_per_class=2))
    return folder


@pytest.fixture(scope='module')
def trained(root, tmp_path_factory):
    """Configs and checkpoints of fresh models, by config name."""
    made = {}
    for name in CONFIGS:
        cfg = Config.fromfile(root / 'configs' / name)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
        path = tmp_path_factory.mktemp('weights') / 'model.pth'
        torch.save(dict(state_dict=model.state_dict(), meta={}), path)
        made[name] = cfg, path
    return made


def fail(capsys, tool: str, *arguments: object) -> str:
    """The last line of standard error of a command line that ends with exit code 2."""
    with pytest.raises(SystemExit) as raised:
        call_tool(tool, *arguments)
    assert raised.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_make_demo_twice(tmp_path, capsys):
    for words in ('rendered', 'are'):
        call_tool('datasets/make_demo', tmp_path / 'a demo', '--classes', 2, '--train', 1, '--test', 1)
        assert capsys.readouterr().out == f'4 pictures of 2 classes {words} in {tmp_path / "a demo"}\n'


def test_make_demo_refuses_a_users_folder_in_one_line(tmp_path, capsys):
    (tmp_path / 'photo.jpg').touch()
    line = fail(capsys, 'datasets/make_demo', tmp_path)
    assert line.startswith(f'error: {tmp_path} holds files that are not of the demo set')


@pytest.mark.parametrize('name', CONFIGS)
def test_pictures_of_a_checkpoint(demo, trained, tmp_path, name):
    cfg, checkpoint = trained[name]
    cfg.test_dataloader.dataset.data_root = str(demo)
    written = draw_test_set(cfg, str(checkpoint), tmp_path / 'a' / 'b', PictureOptions(num_images=5))
    assert written.sheet.name == SHEET and len(written.panels) == 5
    widths = {Image.open(path).size[0] for path in written.panels}
    tiles = 4 if 'glsim' in name else 2  # every image of the demo has an annotated box
    assert widths == {tiles * (192 + 6) + 259}
    assert Image.open(written.sheet).size[1] > 3 * 192


def test_no_more_pictures_than_test_images(demo, trained, tmp_path):
    cfg, checkpoint = trained['vit_demo.py']
    cfg.test_dataloader.dataset.data_root = str(demo)
    assert len(draw_test_set(cfg, str(checkpoint), tmp_path, PictureOptions(num_images=99)).panels) == 16


def test_checkpoint_of_another_model_is_told(demo, trained, tmp_path):
    cfg = trained['glsim_vit_demo.py'][0]
    cfg.test_dataloader.dataset.data_root = str(demo)
    with pytest.raises(GLSimError, match='was made by another model'):
        draw_test_set(cfg, str(trained['vit_demo.py'][1]), tmp_path)


def test_visualize_from_the_command_line(root, demo, trained, tmp_path, capsys):
    config = tmp_path / 'mine.py'
    base = str(root / 'configs' / 'glsim_vit_demo.py')
    config.write_text(f'_base_ = {base!r}\ntest_dataloader = dict(dataset=dict(data_root={str(demo)!r}))\n')
    call_tool('look', config, trained['glsim_vit_demo.py'][1], '--out-dir', tmp_path / 'out', '--num', 2)
    out = capsys.readouterr().out
    assert out.endswith(f'2 pictures in {tmp_path / "out"}, all of them in {tmp_path / "out" / SHEET}\n')
    assert len(list((tmp_path / 'out').rglob('*.png'))) == 3


def test_missing_files_are_told_in_one_line(root, tmp_path, capsys):
    config = root / 'configs' / 'glsim_vit_demo.py'
    fail(capsys, 'look', config, tmp_path / 'no.pth', '--cfg-options')
    assert fail(capsys, 'look', config, tmp_path / 'no.pth', '--out-dir', tmp_path / 'out').startswith('error: ')
