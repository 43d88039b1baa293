"""Runs by way of Python."""

import sysconfig

import pytest
from tiny_run import write_config, write_images

from glsim_mm.apis import build_runner, load_config, run_testing, run_training
from glsim_mm.errors import GLSimError


def test_config_is_not_changed(tmp_path):
    path = write_config(tmp_path / 'tiny_unchanged.py', write_images(tmp_path / 'images'))
    cfg = load_config(path, dict(work_dir=str(tmp_path / 'work'), compile=False))
    before = cfg.pretty_text
    build_runner(cfg)
    assert cfg.pretty_text == before


def test_machine_without_a_compiler(tmp_path, capfd, monkeypatch):
    path = write_config(tmp_path / 'tiny_slim.py', write_images(tmp_path / 'images'))
    monkeypatch.setitem(sysconfig.get_config_vars(), 'CC', 'no-such-compiler -pthread')
    build_runner(load_config(path, dict(work_dir=str(tmp_path / 'work'))))
    assert 'no-such-compiler' not in capfd.readouterr().err
    assert sysconfig.get_config_var('CC') == 'no-such-compiler -pthread'


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
