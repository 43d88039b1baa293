"""Configs are found by their names."""

from pathlib import Path

import pytest
from tiny_run import ROOT, load_tool

from glsim_mm.apis import load_config
from glsim_mm.errors import GLSimError
from glsim_mm.shipped_files import find_config, list_configs

CUB = ROOT / 'configs' / 'glsim_vit_cub.py'


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    'name', ['glsim_vit_cub', 'glsim_vit_cub.py', 'configs/glsim_vit_cub.py', Path('glsim_vit_cub')]
)
def test_a_shipped_config_is_found_by_its_name(name):
    assert find_config(name) == (CUB, '')


def test_one_in_a_folder_is_found_by_its_last_name():
    path = ROOT / 'configs' / 'experiments' / 'glsim_dinov2s_cub25_cpu.py'
    for name in (path.stem, f'experiments/{path.name}', f'configs/experiments/{path.stem}'):
        assert find_config(name) == (path, '')


@pytest.mark.parametrize('name', ['glsim_vit_cub', 'glsim_vit_cub.py', '_base_/models/glsim_vit_base_p16.py'])
def test_a_config_inherits_a_shipped_one_by_its_name(name):
    Path('glsim_vit_cub.py').write_text(f"_base_ = ['glsim_mm::{name}']\nmodel = dict(neck=dict(top_o=5))\n")
    model = load_config('glsim_vit_cub.py').model
    assert (model.type, model.neck.top_o) == ('GLSimClassifier', 5)
    Path('mine.py').write_text("_base_ = 'glsim_mm::glsim_vit_cup'\n")
    with pytest.raises(GLSimError, match='the nearest are glsim_vit_cub'):
        load_config('mine.py')


def test_names_are_unique():
    """A name alone would not do otherwise."""
    names = [path.stem for path in list_configs()]
    assert len(names) > 100 and len(names) == len(set(names))


def test_a_local_file_wins_and_that_is_told(tmp_path):
    Path('glsim_vit_cub.py').touch()
    for name in ('glsim_vit_cub', 'glsim_vit_cub.py'):
        path, note = find_config(name)
        assert path == Path('glsim_vit_cub.py')
        assert note == f'glsim_vit_cub.py is read; the package ships a config of the same name: {CUB}'
    assert find_config(tmp_path / 'glsim_vit_cub.py') == (tmp_path / 'glsim_vit_cub.py', '')


def test_the_shipped_file_itself_is_no_other(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert find_config('configs/glsim_vit_cub.py') == (Path('configs/glsim_vit_cub.py'), '')


def test_a_folder_is_no_config():
    Path('glsim_vit_cub').mkdir()
    assert find_config('glsim_vit_cub') == (CUB, '')


@pytest.mark.parametrize(
    'name, message',
    [
        ('glsim_vit_cup', 'config file glsim_vit_cup does not exist; of the configs that the package ships, the nearest'
         ' are glsim_vit_cub'),
        ('nowhere/glsim_vit_cub.py', 'the nearest are glsim_vit_cub'),
        ('/configs/glsim_vit_cub.py', 'the nearest are glsim_vit_cub'),
        ('a.py', 'config file a.py does not exist; check the path'),
        ('default_runtime', 'config file default_runtime does not exist; check the path'),
    ],
)  # fmt: skip
def test_an_unknown_name_is_told_with_the_nearest(name, message):
    with pytest.raises(GLSimError) as error:
        find_config(name)
    assert message in str(error.value)


def test_several_of_one_name_are_told(monkeypatch, tmp_path):
    for folder in ('a', 'b'):
        path = tmp_path / 'shipped' / 'configs' / folder / 'same.py'
        path.parent.mkdir(parents=True)
        path.touch()
    monkeypatch.setattr('glsim_mm.shipped_files.find_shipped_folder', lambda: tmp_path / 'shipped')
    with pytest.raises(GLSimError) as error:
        find_config('same')
    assert str(error.value).endswith('a/same.py, ' + str(path)) and 'give one of' in str(error.value)


def test_names_are_taken_by_the_library_and_by_tools(capsys):
    assert load_config('glsim_vit_cub').filename == str(CUB)
    cli = load_tool('train').cli
    args = load_tool('train').parse_args(['glsim_vit_cub'])
    cli.run(lambda args: print(args.config), args, needs_model=False)
    assert capsys.readouterr() == (f'{CUB}\n', '')
    Path('glsim_vit_cub.py').touch()
    cli.run(lambda args: print(args.config), load_tool('train').parse_args(['glsim_vit_cub']), needs_model=False)
    assert capsys.readouterr().err.startswith('glsim_vit_cub.py is read; the package ships')
