"""The command line that classifies images."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from PIL import Image
from tiny_run import CLASSES, call_tool, write_config, write_images


@pytest.fixture(scope='module')
def model_files(tmp_path_factory) -> tuple[Path, Path, Path]:
    """Config, checkpoint with random weights, and a folder of 8 validation images."""
    folder = tmp_path_factory.mktemp('infer')
    images = write_images(folder / 'images')
    config = write_config(folder / 'tiny_infer.py', images)
    model = MODELS.build(dict(Config.fromfile(config).model, type='mmpretrain.GLSimClassifier'))
    model.init_weights()
    checkpoint = folder / 'weights.pth'
    torch.save({'state_dict': model.state_dict(), 'meta': {'dataset_meta': {'classes': CLASSES}}}, checkpoint)
    return config, checkpoint, images / 'val'


def infer(model_files: tuple[Path, Path, Path], *arguments: object) -> None:
    call_tool('infer', *model_files[:2], *arguments, '--device', 'cpu')


def test_files_folders_and_patterns(model_files, tmp_path, capsys):
    images = model_files[2]
    some = sorted((images / CLASSES[0]).iterdir())[0]
    out = tmp_path / 'out.json'
    infer(model_files, some, images, f'{images}/**/*1.png', '--out', out, '--batch-size', 3, '--top-k', 1)
    captured = capsys.readouterr()
    results = json.loads(out.read_text())
    lines = captured.out.splitlines()
    assert len(results) == len(lines) == 1 + 8 + 2
    for result, line in zip(results, lines):
        assert result['pred_class'] in line and '%' in line and line.endswith(Path(result['path']).name)
        assert np.shape(result['similarity_map']) == (4, 4)
        assert len(result['top']) == 1 and len(result['selected_box_image']) == 4
        assert len(line) <= 80
    assert results[0]['pred_scores'] == pytest.approx(results[1]['pred_scores'], abs=1e-5)
    assert 'classifying' in captured.err and '11 of 11' in captured.err


def test_no_progress(model_files, capsys, monkeypatch):
    monkeypatch.setenv('GLSIM_NO_NEXT', '1')
    infer(model_files, model_files[2], '--no-progress')
    captured = capsys.readouterr()
    assert captured.err == ''
    assert len(captured.out.splitlines()) == 8


def test_panels_and_another_selector(model_files, tmp_path, capsys):
    infer(model_files, model_files[2], '--show-dir', tmp_path / 'panels', '--out', tmp_path / 'a.json')
    panels = sorted(path.relative_to(tmp_path / 'panels').as_posix() for path in (tmp_path / 'panels').rglob('*.png'))
    assert panels == [f'{name}/{name}{index}.png' for name in CLASSES for index in range(4)]
    infer(model_files, model_files[2], '--selector', 'CenterSelector', '--out', tmp_path / 'b.json')
    boxes = [
        {tuple(result['selected_box']) for result in json.loads((tmp_path / f'{name}.json').read_text())}
        for name in 'ab'
    ]
    assert len(boxes[0]) > 1 and len(boxes[1]) == 1


def test_unreadable_images_are_left_out(model_files, tmp_path, capsys):
    Image.new('RGB', (40, 50), 'red').save(tmp_path / 'good.jpg')
    (tmp_path / 'empty.jpg').write_bytes(b'')
    infer(model_files, tmp_path, '--out', tmp_path / 'out.json')
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith('good.jpg')
    empty, good = json.loads((tmp_path / 'out.json').read_text())
    assert 'empty.jpg cannot be read' in empty['error']
    assert len(good['similarity_map']) == 4


@pytest.mark.parametrize(
    'arguments, expected',
    [
        (['{}/nowhere.jpg'], 'nowhere.jpg does not exist'),
        (['{}'], 'there is no image in'),
        (['{}/*.jpg'], 'there is no image in'),
        (['{}/damaged.txt'], 'damaged.txt cannot be read: not an image'),
        (['{images}', '--selector', 'NoSelector'], 'NoSelector'),
        (['{}/damaged.txt', '--batch-size', '0'], '--batch-size'),
    ],
)
def test_mistakes_are_one_line(model_files, tmp_path, capsys, arguments, expected):
    (tmp_path / 'damaged.txt').write_text('no image')
    with pytest.raises(SystemExit) as end:
        infer(model_files, *(argument.format(tmp_path, images=model_files[2]) for argument in arguments))
    assert end.value.code == 2
    captured = capsys.readouterr()
    assert expected in captured.err.splitlines()[-1]
    assert captured.out == ''
