"""Loader against model."""

import json

import pytest
from tiny_run import call_tool, write_config, write_images

from glsim_mm.analysis.loading_speed import loading_table, measure_loading
from glsim_mm.apis import load_config
from glsim_mm.errors import GLSimError


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp('loading')
    return write_config(folder / 'loading.py', write_images(folder / 'images'))


def test_every_step_and_the_bottleneck(config):
    report = measure_loading(load_config(config), (0, 1), num_images=8, rounds=1, threads=1)
    assert list(report.step_milliseconds) == ['1 LoadImage', '2 Resize', '3 RandomFlip', '4 PackInputs']
    assert set(report.loader_speeds) == {0, 1} and report.batch_size == 4
    best = max(speed.median for speed in report.loader_speeds.values())
    assert report.headroom == pytest.approx(best / report.model_speed.median)
    assert report.bottleneck == ('loader' if report.headroom < 1 else 'model')
    table = loading_table(report)
    assert '| loader, 1 worker |' in table and max(map(len, table.splitlines())) <= 80


def test_command_line(config, tmp_path, capsys):
    options = ['--num-workers', 0, '--images', 4, '--rounds', 1, '--threads', 1, '--out', tmp_path / 'out']
    call_tool('benchmark', 'loading', config, *options)
    assert 'times as fast' in capsys.readouterr().out
    (row,) = json.loads((tmp_path / 'out' / 'results.json').read_text())['rows']
    assert row['bottleneck'] in ('loader', 'model')


def test_numbers_out_of_range(config):
    with pytest.raises(GLSimError, match='rounds 1 or more'):
        measure_loading(load_config(config), rounds=0)
