"""File names of any bytes, on consoles of any encoding, end no run."""

import io
import json
import os
import shutil
from pathlib import Path

import pytest
from exported_files import write_model
from tiny_run import call_tool

from glsim_mm.images.photos import ImageItem, read_photo
from glsim_mm.images.results import format_prediction
from retrieval.gallery import open_gallery

NAMES = (b'latin1_\xe9.png', 'Japanese_\u65e5\u672c.png'.encode(), b'with\nnewline.png')


@pytest.fixture(scope='module')
def named(tmp_path_factory) -> tuple[Path, Path, Path]:
    """Config, checkpoint and validation photos, some with such names."""
    config, weights, images = write_model(tmp_path_factory.mktemp('named'))
    try:
        for split in ('train', 'val'):
            folder = images.parent / split / 'plain'
            for name in NAMES:
                shutil.copy(folder / 'plain0.png', os.fsencode(folder) + b'/' + name)
    except OSError:
        pytest.skip('this file system takes only names of one encoding')
    return config, weights, images


@pytest.mark.parametrize('encoding', ['cp1252', 'utf-8'])
def test_predictions_and_statistics_are_printed(encoding, named, tmp_path, monkeypatch):
    config, weights, images = named
    console = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors='strict', write_through=True)
    monkeypatch.setattr('sys.stdout', console)
    call_tool('infer', config, weights, images, '--device', 'cpu', '--out', tmp_path / 'out.json')
    call_tool('datasets/stats', config)
    text = console.buffer.getvalue().decode(encoding)
    lines = [line for line in text.splitlines() if ' %  ' in line]
    listed = json.loads((tmp_path / 'out.json').read_text())
    assert len(lines) == len(listed) == 8 + len(NAMES)
    assert sum(r'latin1_\udce9.png' in line for line in lines) == 1
    assert {Path(one['path']).name.encode('utf-8', 'surrogateescape') for one in listed} >= set(NAMES)
    assert r'train/plain/latin1_\udce9.png' in text  # of equal content


def test_reports_are_written(named, tmp_path):
    config, weights, _ = named
    call_tool('look', config, weights, '--out-dir', tmp_path / 'pictures', '--html', tmp_path / 'report.html')
    assert r'latin1_\udce9.png' in (tmp_path / 'report.html').read_text(encoding='utf-8')
    call_tool('test', config, weights, '--work-dir', tmp_path / 'run', '--error-report', tmp_path / 'errors.html')
    assert (tmp_path / 'errors.html').read_text(encoding='utf-8').startswith('<!')


def test_galleries_keep_such_paths_and_find_the_photos(named, tmp_path):
    config, weights, images = named
    gallery = tmp_path / 'gallery'
    call_tool('retrieval/build', images, config, weights, '--out', gallery, '--device', 'cpu', '--num-workers', 0)
    with open_gallery(gallery) as opened:
        paths = [record.path for record in opened.records(opened.ids())]
    assert r'plain/latin1_\udce9.png' in paths and len(paths) == 8 + len(NAMES)
    for path in paths:
        assert read_photo(ImageItem(str(images / path))).pixels.shape == (48, 48, 3)
    strange = Path(os.fsdecode(os.fsencode(images / 'plain') + b'/' + NAMES[0]))
    out = [tmp_path / 'hits.html', tmp_path / 'hits.png', tmp_path / 'hits.json']
    call_tool('retrieval/search', gallery, strange, '--device', 'cpu', '--out', *out)
    assert r'latin1_\udce9.png' in out[0].read_text(encoding='utf-8') and 'cannot be read' not in out[0].read_text()


def test_a_line_stays_a_line():
    line = format_prediction(dict(pred_label=3, pred_score=0.5, path='a\nb.png'))
    assert line.endswith(r'a\nb.png') and '\n' not in line
