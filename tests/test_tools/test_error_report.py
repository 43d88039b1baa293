"""Confused classes in the log, and the report of mistakes, through tools/test.py."""

import re
from pathlib import Path

import pytest
import torch
from tiny_run import CLASSES, PER_CLASS, call_tool, read_log, write_config

from glsim_mm.checkpoints.checkpoint_files import load_checkpoint_file


@pytest.fixture(scope='module')
def checkpoint(tiny_images, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('confused')
    config = write_config(folder / 'tiny_confused.py', tiny_images)
    call_tool('train', config, '--work-dir', folder, '--cfg-options', 'train_cfg.max_epochs=1')
    return folder / 'epoch_1.pth'


def test_confused_classes_are_logged(checkpoint, tiny_images, tmp_path, capfd):
    config = write_config(tmp_path / 'tiny_pairs.py', tiny_images)
    # All images look alike, so one class is taken for the other.
    options = ['--cfg-options', 'data_preprocessor.std=[1e9,1e9,1e9]']
    call_tool('test', config, checkpoint, '--work-dir', tmp_path / 'work', *options)
    text = read_log(tmp_path / 'work')
    table = text[text.index('most confused classes:') :].splitlines()
    assert re.match(r'true class +taken for +images +% of class', table[1])
    assert re.match(rf'({"|".join(CLASSES)}) +({"|".join(CLASSES)}) +{PER_CLASS} +100.0', table[2])
    assert 'confusion/top_pairs_share: 100' in text


def test_report_shows_pairs_mistakes_and_classes(checkpoint, tiny_images, tmp_path):
    config = write_config(tmp_path / 'tiny_errors.py', tiny_images)
    page = tmp_path / 'reports' / 'errors.html'
    options = ['--cfg-options', 'data_preprocessor.std=[1e9,1e9,1e9]']
    call_tool('test', config, checkpoint, '--work-dir', tmp_path / 'work', '--error-report', page, *options)
    html = page.read_text()
    text = re.sub(r'<[^>]*>', ' ', html)
    assert re.search(r'\b(plain|striped) taken for (plain|striped)\s+4 images, 100.0 %', text)
    assert 'for comparison, a ' in text
    assert 'accuracy/top1' in text and '50.0 %' in text and '4 of 4' in text and '0 of 4' in text
    # Three mistakes and an image for comparison with the pair, and all four mistakes: image, map, box and crop of each.
    assert html.count('src="data:image/jpeg;base64,') == 4 + 4 * PER_CLASS
    assert str(tiny_images) not in html
    assert html.count('alt="') == html.count('<img ')


def test_model_without_mistakes(checkpoint, tiny_images, tmp_path):
    config = write_config(tmp_path / 'tiny_faultless.py', tiny_images)
    page = tmp_path / 'errors.html'
    # The images of one class only, and a head that always says this class.
    one_class = tiny_images / 'val' / CLASSES[0]
    table = tmp_path / 'one.csv'
    rows = [f'{path},{CLASSES[0]}' for path in sorted(one_class.iterdir())]
    table.write_text('\n'.join(['path,label', *rows]))
    config.write_text(
        config.read_text()
        + f"test_dataloader = dict(test_dataloader, dataset=dict(type='TableDataset', ann_file={str(table)!r}, "
        + f'metainfo=dict(classes={CLASSES!r}), pipeline=test_pipeline))\n'
    )
    call_tool('test', config, biased(checkpoint, tmp_path), '--work-dir', tmp_path / 'work', '--error-report', page)
    html = page.read_text()
    assert 'no mistake was made' in html and '100.0 %' in html


def biased(checkpoint: Path, folder: Path) -> Path:
    """The checkpoint with a classifier that always says the first class."""
    content = load_checkpoint_file(checkpoint)
    content['state_dict']['head.fc.bias'] = torch.tensor([100.0, -100.0])
    torch.save(dict(state_dict=content['state_dict'], meta={}), folder / 'biased.pth')
    return folder / 'biased.pth'


def test_report_and_mirrored_views_exclude_each_other(checkpoint, tiny_images, tmp_path, capsys):
    config = write_config(tmp_path / 'tiny_both.py', tiny_images)
    with pytest.raises(SystemExit) as end:
        call_tool('test', config, checkpoint, '--tta', '--error-report', tmp_path / 'errors.html')
    assert end.value.code == 2
    assert 'cannot be combined with --tta' in capsys.readouterr().err


def test_pipeline_without_positions(checkpoint, tiny_images, tmp_path, capsys):
    config = write_config(tmp_path / 'tiny_positions.py', tiny_images)
    options = ['--cfg-options', "test_dataloader.dataset.pipeline.2.meta_keys=('img_path',)"]
    with pytest.raises(SystemExit):
        call_tool('test', config, checkpoint, '--work-dir', tmp_path, '--error-report', tmp_path / 'e.html', *options)
    assert "needs 'sample_idx' in meta_keys" in capsys.readouterr().err
