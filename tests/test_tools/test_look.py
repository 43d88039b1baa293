"""Pictures and reports of a trained model, through the real command line."""

import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from tiny_run import CLASSES, ROOT, call_tool, write_config, write_images

from glsim_mm.apis import PictureOptions, compare_selectors, dataset_pictures, draw_test_set, load_config, load_model
from glsim_mm.apis.dataset_pictures import OWN, SELECTORS, SHEET, build_selectors, select_regions
from glsim_mm.errors import GLSimError

PLAIN = """
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='VisionTransformer', img_size=32, patch_size=8, out_type='cls_token',
        arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=32))
"""


@pytest.fixture(scope='module')
def images(tmp_path_factory) -> Path:
    """Two classes with files of one name, one image of one colour."""
    folder = write_images(tmp_path_factory.mktemp('look') / 'some images')
    for name in CLASSES:
        (folder / 'val' / name / f'{name}0.png').rename(folder / 'val' / name / 'same.png')
    Image.new('RGB', (32, 32), (90, 90, 90)).save(folder / 'val' / CLASSES[0] / 'same.png')
    return folder


@pytest.fixture(scope='module')
def config(images, tmp_path_factory) -> Path:
    return write_config(tmp_path_factory.mktemp('configs') / 'tiny_visualized.py', images)


def save_checkpoint(config: Path, path: Path) -> Path:
    """Random weights of a config's model, with the names of its classes."""
    from mmengine.registry import DefaultScope
    from mmpretrain.registry import MODELS

    cfg = load_config(config)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return path


@pytest.fixture(scope='module')
def checkpoint(config, tmp_path_factory) -> Path:
    return save_checkpoint(config, tmp_path_factory.mktemp('weights') / 'model.pth')


@pytest.fixture(scope='module')
def cfg(config) -> Config:
    return load_config(config)


def fails_in_one_line(capsys, *arguments: object) -> str:
    with pytest.raises(SystemExit) as stopped:
        call_tool('look', *arguments)
    assert stopped.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_pictures_follow_the_paths_of_images(config, checkpoint, tmp_path, capsys):
    out = tmp_path / 'out'
    call_tool('look', config, checkpoint, '--out-dir', out, '--num', 0, '--panel-side', 96)
    assert capsys.readouterr().out.endswith(f'8 pictures in {out}, all of them in {out / SHEET}\n')
    drawn = {path.relative_to(out).as_posix() for path in out.rglob('*.png')} - {SHEET}
    expected = {f'panels/val/{name}/same.png' for name in CLASSES}
    expected |= {f'panels/val/{name}/{name}{index}.png' for name in CLASSES for index in (1, 2, 3)}
    assert drawn == expected


def test_images_that_differ_in_suffix_only_are_all_drawn(images, checkpoint, tmp_path):
    data = shutil.copytree(images, tmp_path / 'images')
    folder = data / 'val' / CLASSES[0]
    Image.open(folder / 'same.png').save(folder / 'same.jpg')
    config = write_config(tmp_path / 'tiny_suffixes.py', data)
    written = draw_test_set(load_config(config), str(checkpoint), tmp_path / 'out', PictureOptions(num_images=0))
    assert len(set(written.panels)) == 9 and all(path.is_file() for path in written.panels)


def test_report_of_all_images(config, checkpoint, tmp_path, capsys):
    report = tmp_path / 'a' / 'report.html'
    call_tool('look', config, checkpoint, '--out-dir', tmp_path, '--num', 0, '--html', report, '--mistakes-first')
    assert 'written: ., a/report.html\n' in capsys.readouterr().err
    html = report.read_text(encoding='utf-8')
    assert html.count('<article ') == 8
    assert 'tiny_visualized.py' in html and 'model.pth' in html and 'GLSimSelector' in html
    assert str(tmp_path) not in html and str(config.parent) not in html  # folders are not told
    assert f'<p>val/{CLASSES[0]}/same.png</p>' in html


def test_images_are_not_kept_in_memory_but_read_again(cfg, checkpoint, tmp_path, monkeypatch):
    """Predictions of large images, as those of a whole test set would be."""
    predict, sizes = dataset_pictures.predict_at, []

    def predict_large(*arguments):
        for position, one in predict(*arguments):
            yield position, replace(one, image=np.zeros((2000, 2000, 3), np.uint8))

    monkeypatch.setattr(dataset_pictures, 'predict_at', predict_large)
    draw = dataset_pictures.draw_panel
    monkeypatch.setattr(
        dataset_pictures, 'draw_panel', lambda one, **look: sizes.append(one.image.shape) or draw(one, **look)
    )
    tracemalloc.start()
    written = draw_test_set(cfg, str(checkpoint), tmp_path, PictureOptions(num_images=8), tmp_path / 'r.html')
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(written.panels) == 8 and set(sizes) == {(32, 32, 3)} and peak < 4 * 12_000_000


def test_only_mistakes(cfg, checkpoint, tmp_path):
    options = PictureOptions(num_images=0, only_mistakes=True)
    written = draw_test_set(cfg, str(checkpoint), tmp_path, options, tmp_path / 'r.html')
    html = written.report.read_text(encoding='utf-8')
    assert f'{8 - len(written.panels)} right, {len(written.panels)} wrong' in html
    assert html.count('<article ') == len(written.panels)
    assert len(written.panels) == len(list((tmp_path / 'panels').rglob('*.png')))


@pytest.mark.parametrize('split, folder', [('train', 'train'), ('val', 'val')])
def test_splits(cfg, checkpoint, tmp_path, split, folder):
    written = draw_test_set(cfg, str(checkpoint), tmp_path, PictureOptions(num_images=2, split=split))
    assert {path.relative_to(tmp_path).parts[1] for path in written.panels} == {folder}


@pytest.mark.parametrize('names', [CLASSES, CLASSES[::-1]])
def test_predictions_are_named_and_judged_as_the_checkpoint_names_classes(cfg, checkpoint, tmp_path, names):
    content = torch.load(checkpoint)
    content['meta'] = dict(dataset_meta=dict(classes=names))
    content['state_dict']['head.fc.weight'].zero_()
    content['state_dict']['head.fc.bias'][:] = torch.tensor([1.0, 0.0])  # always the first class
    torch.save(content, tmp_path / 'named.pth')
    options = PictureOptions(num_images=100, only_mistakes=True)
    written = draw_test_set(cfg, str(tmp_path / 'named.pth'), tmp_path / 'out', options)
    assert {path.parent.name for path in written.panels} == {names[1]}


def test_models_without_selection(images, tmp_path):
    config = write_config(tmp_path / 'tiny_plain.py', images, PLAIN)
    checkpoint = save_checkpoint(config, tmp_path / 'plain.pth')
    call_tool('look', config, checkpoint, '--out-dir', tmp_path / 'out', '--num', 1, '--html', tmp_path / 'r.html')
    (panel,) = (tmp_path / 'out' / 'panels').rglob('*.png')
    assert Image.open(panel).size[0] == 192 + 6 + 259  # image and classes
    assert 'Selector' not in (tmp_path / 'r.html').read_text(encoding='utf-8')
    with pytest.raises(GLSimError, match='ImageClassifier selects no regions'):
        list(compare_selectors(load_config(config), str(checkpoint), ['gls']))


def test_several_regions(images, checkpoint, tmp_path):
    extra = "model['neck'].update(num_regions=2, region_method='windows')\n"
    cfg = load_config(write_config(tmp_path / 'tiny_regions.py', images, extra))
    assert len(draw_test_set(cfg, str(checkpoint), tmp_path, PictureOptions(num_images=3)).panels) == 3
    (row,) = compare_selectors(cfg, str(checkpoint), ['gls'], PictureOptions(num_images=1))
    assert row.selections['gls'].boxes.shape == (2, 4)


def test_selector_grid_from_the_command_line(config, checkpoint, tmp_path, capsys):
    names = [name for name in SELECTORS if name != 'oracle'] + [OWN]
    call_tool('look', config, checkpoint, '--out-dir', tmp_path, '--num', 2, '--selectors', *names)
    assert capsys.readouterr().out.endswith(f'selectors in {tmp_path / "selectors.png"}\n')
    assert Image.open(tmp_path / 'selectors.png').size[0] > (len(names) + 1) * 192


def test_every_selector_scores_every_patch_and_the_own_one_agrees(cfg, checkpoint):
    rows = list(compare_selectors(cfg, str(checkpoint), ['gls', 'own', 'random'], PictureOptions(num_images=2)))
    again = list(compare_selectors(cfg, str(checkpoint), ['random'], PictureOptions(num_images=2)))
    for row, second in zip(rows, again):
        assert {selection.scores.shape for selection in row.selections.values()} == {(4, 4)}
        np.testing.assert_array_equal(row.selections['gls'].boxes, row.selections['own'].boxes)
        np.testing.assert_array_equal(row.selections['random'].scores, second.selections['random'].scores)


def test_encoder_runs_once_and_selections_equal_the_models(cfg, checkpoint):
    model = load_model(cfg, str(checkpoint), 'cpu')
    images, calls = torch.randn(1, 3, 32, 32), []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    selections = select_regions(model, build_selectors(model, ['gls', 'rollout', 'maws', 'psm']), images)
    assert len(calls) == 1
    with torch.no_grad():
        regions = model.extract_feat(images, stage='selector')
    np.testing.assert_array_equal(selections['gls'].boxes, regions.boxes.numpy())
    np.testing.assert_allclose(selections['gls'].scores.ravel(), regions.scores[0].numpy(), atol=1e-6)


@pytest.mark.parametrize(
    'arguments, expected',
    [
        (['--selectors', 'rolout'], "there is no selector 'rolout'; did you mean rollout?"),
        (['--selectors', 'oracle'], 'OracleSelector needs annotated boxes'),
        (['--selectors', 'gls', '--html', 'r.html'], 'leave out --html'),
        (['--only-mistakes', '--mistakes-first'], 'not allowed with'),
        (['--scale', 'log'], "invalid choice: 'log'"),
        (['--num', '-1'], '--num: must be 0 or more'),
        (['--panel-side', '40'], '--panel-side must be 96 to 2048'),
        (['--cfg-options', 'test_dataloader.dataset.data_root=nowhere'], 'nowhere'),
    ],
)
def test_mistakes_are_told_in_one_line(config, checkpoint, tmp_path, capsys, arguments, expected):
    error = fails_in_one_line(capsys, config, checkpoint, '--out-dir', tmp_path, *arguments)
    assert expected in error and 'error: ' in error


def test_files_that_cannot_be_used(config, checkpoint, tmp_path, capsys):
    (tmp_path / 'file').touch()
    folder = tmp_path / 'file' / 'out'
    assert 'cannot be written' in fails_in_one_line(capsys, config, checkpoint, '--out-dir', folder, '--num', 1)
    assert 'no.pth' in fails_in_one_line(capsys, config, tmp_path / 'no.pth', '--out-dir', tmp_path)
    assert 'no.py does not exist' in fails_in_one_line(capsys, 'no.py', checkpoint)


def test_wrapped_data_set_is_told(cfg, checkpoint, tmp_path):
    wrapped = Config(dict(cfg.to_dict()))
    wrapped.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=cfg.train_dataloader.dataset)
    with pytest.raises(GLSimError, match='wraps other data sets; choose another --split'):
        draw_test_set(wrapped, str(checkpoint), tmp_path, PictureOptions(split='train'))


def test_command_line_offers_what_the_package_knows():
    text = (ROOT / 'tools' / 'look.py').read_text(encoding='utf-8')
    from glsim_mm.visualization import SCALINGS

    assert all(f"'{name}'" in text for name in SCALINGS)
