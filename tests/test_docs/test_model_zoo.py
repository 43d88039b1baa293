"""The model zoo: the metafile fits the configs, mmpretrain reads it, and the page is what it says."""

import importlib.util

import pytest
import yaml
from mmengine.config import Config
from mmpretrain import get_model, list_models
from mmpretrain.apis.model import ModelHub
from modelindex.load_model_index import load
from torch import nn

from glsim_mm.analysis.model_cost import count_cost
from glsim_mm.apis.model_hub import register_models


@pytest.fixture(scope='module')
def script(root):
    """docs/model_zoo_page.py as a module."""
    spec = importlib.util.spec_from_file_location('model_zoo_page', root / 'docs' / 'model_zoo_page.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def models(script, root):
    return {model['Name']: model for model in script.read_models(root)}


@pytest.fixture
def hub(monkeypatch):
    """mmpretrain's list of models without ours, and without the time to read its own."""
    monkeypatch.setattr(ModelHub, '_models_dict', {})
    monkeypatch.setattr(ModelHub, '_ModelHub__mmpretrain_registered', True)
    return ModelHub


@pytest.fixture
def project(tmp_path):
    """A project of one config."""
    (tmp_path / 'configs' / '_base_').mkdir(parents=True)
    (tmp_path / 'docs' / 'reference').mkdir(parents=True)
    (tmp_path / 'configs' / '_base_' / 'base.py').write_text('')
    (tmp_path / 'configs' / 'a.py').write_text('')
    result = dict(
        Task='Image Classification', Dataset='Birds', Metrics={'Top 1 Accuracy': 90.5}, Source='published (x)'
    )
    metadata = {'Training Data': ['Birds'], 'Image Size': 224, 'FLOPs': 17_000_000_000, 'Parameters': 86_000_000}
    model = {'Name': 'a', 'In Collection': 'A', 'Config': 'configs/a.py', 'Metadata': metadata, 'Results': [result]}
    return tmp_path, dict(Collections=[dict(Name='A')], Models=[model])


def write(folder, content):
    (folder / 'configs' / 'metafile.yml').write_text(yaml.safe_dump(content))
    return folder


def test_page_and_metafile_fit_the_configs(script, capsys):
    assert script.main(['--check']) == 0, capsys.readouterr().out


def test_names_are_those_of_the_configs(models):
    assert [name for name, model in models.items() if not model['Config'].endswith(f'/{name}.py')] == []


@pytest.mark.slow
def test_numbers_are_those_of_the_models(models, root):
    """Counted again; entries that differ in the number of classes alone are compared by one of each kind."""
    kinds = {}
    for name in models:
        kinds.setdefault(name.replace('_' + name.split('_448')[0].split('_')[-1], ''), name)
    for name in {*kinds.values(), 'glsim_vit_inat17', 'vit_dafb_448'}:
        model = models[name]
        cost = count_cost(Config.fromfile(root / model['Config']))
        fields = [model['Metadata'][field] for field in ('Parameters', 'FLOPs', 'Image Size')]
        assert (name, *cost) == (name, *fields)


def test_a_class_more_is_a_row_of_the_classifier_more(models, root):
    """All sets differ in their classes only: 768 weights and a bias each."""
    for kind in ('glsim_vit_{}', 'vit_{}', 'glsim_vit_{}_448', 'vit_{}_448'):
        cub = models[kind.format('cub')]['Metadata']
        for name in 'dafb dogs flowers food101 inat17 moe nabirds pets vegfru aircraft cars'.split():
            model = models[kind.format(name)]
            num_classes = Config.fromfile(root / model['Config']).model.head.num_classes
            assert model['Metadata']['Parameters'] - cub['Parameters'] == (num_classes - 200) * 769
            assert model['Metadata']['FLOPs'] - cub['FLOPs'] == (num_classes - 200) * 768


def test_it_is_valid_for_openmmlab(root, models):
    """By the package that mim and mmpretrain read metafiles with."""
    index = load(str(root / 'model-index.yml'))
    index.build_models_with_collections()
    assert [model.name for model in index.models] == list(models)
    for model in index.models:
        assert not model.check_errors
        assert model.full_model.paper['URL'].startswith('https://arxiv.org/abs/')
        for result in model.results or ():
            assert not result.check_errors


def test_mmpretrain_finds_the_models(hub, models):
    assert register_models() == list(models)
    assert register_models() == list(models)  # a second time does no harm
    assert list_models('glsim_vit_cub*') == ['glsim_vit_cub', 'glsim_vit_cub_448']
    assert 'glsim_vit_nabirds' in list_models(task='Image Classification')
    assert hub.get('glsim_vit_pets').config.model.head.num_classes == 37
    model = get_model('glsim_vit_cub', backbone=tiny_backbone(), head=dict(in_channels=32, num_heads=1))
    assert isinstance(model, nn.Module) and model.head.num_classes == 200


def tiny_backbone():
    arch = dict(_delete_=True, embed_dims=32, num_layers=1, num_heads=1, feedforward_channels=64)
    return dict(arch=arch, img_size=32)


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda model: model.pop('Config'), 'has no Config'),
        (lambda model: model['Metadata'].pop('FLOPs'), 'has no FLOPs'),
        (
            lambda model: model['Metadata'].update(Parameters='86M'),
            'the model a needs a whole number, without a unit, as Parameters',
        ),
        (lambda model: model.update({'In Collection': 'B'}), 'the collection B, which is not there'),
        (lambda model: model['Results'][0].pop('Source'), 'needs a Source'),
        (lambda model: model['Results'][0].update(Metrics={}), 'needs a Top 1 Accuracy'),
        (lambda model: model['Results'][0].update(Task='Retrieval'), 'the Task Image Classification'),
        (lambda model: model.update(Weights='https://example.org/a.pth'), 'no result that was measured with them'),
    ],
)
def test_a_damaged_entry_is_refused(script, project, change, message):
    folder, content = project
    change(content['Models'][0])
    with pytest.raises(ValueError, match=message):
        script.read_models(write(folder, content))


def test_a_model_belongs_in_it_once(script, project):
    folder, content = project
    content['Models'] *= 2
    with pytest.raises(ValueError, match='the name a twice'):
        script.read_models(write(folder, content))


@pytest.mark.parametrize('text', ['Models: [', 'Models: []', '- a', '', None])
def test_a_file_of_another_kind_is_refused(script, tmp_path, text):
    (tmp_path / 'configs').mkdir()
    if text is not None:
        (tmp_path / 'configs' / 'metafile.yml').write_text(text)
    with pytest.raises(ValueError, match='metafile.yml'):
        script.read_models(tmp_path)


def test_configs_and_metafile_are_compared_both_ways(script, project):
    folder, content = project
    models = script.read_models(write(folder, content))
    assert script.find_problems(models, folder, {}) == []
    (folder / 'configs' / 'b.py').write_text('')
    assert script.find_problems(models, folder, {}) == ['configs/b.py is not in the metafile']
    assert script.find_problems(models, folder, {'configs/b.py': 'why'}) == []
    assert script.find_problems(models, folder, {'configs/*.py': 'why'}) == [
        'configs/a.py is in the metafile, and left out of it'
    ]
    (folder / 'configs' / 'b.py').unlink()
    (folder / 'configs' / 'a.py').unlink()
    assert script.find_problems(models, folder, {'configs/b.py': 'why'}) == [
        'configs/a.py is in the metafile, but not there',
        'configs/b.py is left out of the metafile, but no config',
    ]


def test_the_page_is_written_from_the_metafile(script, project, root, capsys):
    folder, content = project
    own = dict(content['Models'][0]['Results'][0], Source='measured here (run)')
    own['Metrics'] = {'Top 1 Accuracy': 88.25, 'Top 1 Accuracy Deviation': 0.5}
    content['Models'][0]['Results'].append(own)
    write(folder, content)
    page = folder / 'docs' / 'reference' / 'model_zoo.md'
    assert script.main([], folder, {'configs/b.py': 'why'}) == 1 and not page.exists()
    assert 'configs/b.py is left out of the metafile, but no config' in capsys.readouterr().out
    assert script.main([], folder, {}) == 0
    text = page.read_text(encoding='utf-8')
    assert '| [a](../../configs/a.py) | A | Birds | 224 | 86.0 | 17.0 | 90.5 (1) | 88.25 ± 0.50 (2) |' in text
    assert '1. published (x)\n2. measured here (run)\n' in text
    assert script.main(['--check'], folder, {}) == 0
    page.write_text(text.replace('90.5', '99.5'), encoding='utf-8')
    assert script.main(['--check'], folder, {}) == 1
    assert 'docs/reference/model_zoo.md is not what configs/metafile.yml says' in capsys.readouterr().out
    assert script.main(['--cost', str(root / 'configs' / 'vit_cub.py')]) == 0
    assert 'FLOPs: 17563213824' in capsys.readouterr().out
