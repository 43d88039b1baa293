"""Accuracy and speed from no crop to every crop."""

import json
from pathlib import Path

import pytest
from exported_files import write_model
from tiny_run import call_tool

from glsim_mm.analysis.crop_curve import measure_crop_curve
from glsim_mm.apis import load_config
from glsim_mm.apis.runner import build_runner
from glsim_mm.errors import GLSimError


@pytest.fixture(scope='module')
def made(tmp_path_factory) -> tuple[Path, Path, Path]:
    return write_model(tmp_path_factory.mktemp('curve'))


def accuracy(made, tmp_path, **test_cfg):
    """What tools/test.py measures."""
    cfg = load_config(made[0])
    cfg.model.test_cfg = test_cfg
    cfg.work_dir, cfg.load_from = str(tmp_path), str(made[1])
    return build_runner(cfg).test()['accuracy/top1']


def test_ends_and_middle(made, tmp_path):
    points = measure_crop_curve(load_config(made[0]), str(made[1]), (0.3, 0.6), timed_images=4, rounds=1, device='cpu')
    assert [point.crop for point in points] == ['off', 'adaptive', 'adaptive', 'always']
    shares = [point.crop_share for point in points]
    assert shares[0] == 0 and shares[-1] == 1 and shares == sorted(shares) and 0 < shares[1] < 1
    assert [point.gflops for point in points] == sorted(point.gflops for point in points)
    assert points[-1].speed.median == 1.0
    for point in points:
        options = dict(crop=point.crop, threshold=point.threshold)
        assert accuracy(made, tmp_path / f'{shares.index(point.crop_share)}', **options) == pytest.approx(
            point.accuracy
        )


def test_command_line(made, tmp_path, capsys):
    path = tmp_path / 'curve.json'
    options = ['--shares', 0.5, '--timed-images', 2, '--rounds', 1, '--threads', 1, '--device', 'cpu']
    call_tool('analysis/crop_curve', *made[:2], *options, '--out', path)
    lines = capsys.readouterr().out.splitlines()
    table = lines[-4:]
    assert [line.split()[0] for line in table] == ['crop', 'off', 'adaptive', 'always']
    assert max(map(len, table)) <= 80
    assert len(json.loads(path.read_text())) == 3


def test_shares_out_of_range(made):
    with pytest.raises(GLSimError, match='between 0 and 1'):
        measure_crop_curve(load_config(made[0]), str(made[1]), (1.5,))
