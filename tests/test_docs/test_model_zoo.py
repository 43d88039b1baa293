"""The model zoo: the metafile fits the configs, mmpretrain reads it, and the page is what it says."""

import runpy
import sys

import pytest
import yaml
from mmengine.config import Config
from mmpretrain import get_model, list_models
from mmpretrain.apis.model import ModelHub
from modelindex.load_model_index import load
from torch import nn

from glsim_mm.analysis.model_cost import count_cost
from glsim_mm.apis.model_hub import register_models
from glsim_mm.apis.model_zoo import LEFT_OUT, METAFILE, check_page, find_problems, read_metafile, write_page
from glsim_mm.errors import GLSimError


@pytest.fixture(scope='module')
def models(root):
    return {model.name: model for model in read_metafile(root / METAFILE)}


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
    (folder / METAFILE).write_text(yaml.safe_dump(content))
    return folder / METAFILE


def test_every_config_is_in_the_metafile_or_left_out_for_a_reason(models, root):
    assert find_problems(models.values(), root, LEFT_OUT) == []


def test_page_is_not_stale(root):
    assert check_page(root) == []


def test_names_are_those_of_the_configs(models):
    assert [name for name, model in models.items() if not model.config.endswith(f'/{name}.py')] == []


def test_numbers_are_those_of_the_models(models, root):
    """Counted again; entries that differ in the number of classes alone are compared by one of each kind."""
    kinds = {}
    for name in models:
        kinds.setdefault(name.replace('_' + name.split('_448')[0].split('_')[-1], ''), name)
    for name in {*kinds.values(), 'glsim_vit_inat17', 'vit_dafb_448'}:
        model = models[name]
        cost = count_cost(Config.fromfile(root / model.config))
        assert (name, *cost) == (name, model.parameters, model.flops, model.image_size)


def test_a_class_more_is_a_row_of_the_classifier_more(models, root):
    """All sets differ in their classes only: 768 weights and a bias each."""
    for kind in ('glsim_vit_{}', 'vit_{}', 'glsim_vit_{}_448', 'vit_{}_448'):
        cub = models[kind.format('cub')]
        for name in 'dafb dogs flowers food101 inat17 moe nabirds pets vegfru aircraft cars'.split():
            model = models[kind.format(name)]
            num_classes = Config.fromfile(root / model.config).model.head.num_classes
            assert model.parameters - cub.parameters == (num_classes - 200) * 769
            assert (model.flops - cub.flops) == (num_classes - 200) * 768


def test_published_and_own_numbers_are_told_apart(models):
    (published,) = models['glsim_vit_cub'].results
    assert (published.top1, published.is_ours) == (90.93, False)
    (own,) = models['glsim_dinov2s_cub50_cpu'].results
    assert (own.top1, own.deviation, own.is_ours) == (65.92, 0.04, True)


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
        (lambda model: model['Metadata'].update(Parameters='86M'), 'Parameters of the model a must be a whole number'),
        (lambda model: model.update({'In Collection': 'B'}), 'the collection B, which is not there'),
        (lambda model: model['Results'][0].pop('Source'), 'needs a Source'),
        (lambda model: model['Results'][0].update(Metrics={}), 'needs a Top 1 Accuracy'),
        (lambda model: model['Results'][0].update(Task='Retrieval'), 'the Task Image Classification'),
        (lambda model: model.update(Weights='https://example.org/a.pth'), 'no result that was measured with them'),
    ],
)
def test_a_damaged_entry_is_refused(project, change, message):
    folder, content = project
    change(content['Models'][0])
    with pytest.raises(GLSimError, match=message):
        read_metafile(write(folder, content))


def test_a_model_belongs_in_it_once(project):
    folder, content = project
    content['Models'] *= 2
    with pytest.raises(GLSimError, match='the name a twice'):
        read_metafile(write(folder, content))


@pytest.mark.parametrize('text', ['Models: [', 'Models: []', '- a', ''])
def test_a_file_of_another_kind_is_refused(tmp_path, text):
    (tmp_path / 'metafile.yml').write_text(text)
    with pytest.raises(GLSimError, match='metafile.yml'):
        read_metafile(tmp_path / 'metafile.yml')


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(GLSimError, match='cannot be read'):
        read_metafile(tmp_path / 'metafile.yml')


def test_configs_and_metafile_are_compared_both_ways(project):
    folder, content = project
    models = read_metafile(write(folder, content))
    assert find_problems(models, folder, {}) == []
    (folder / 'configs' / 'b.py').write_text('')
    assert find_problems(models, folder, {}) == ['configs/b.py is not in the metafile']
    assert find_problems(models, folder, {'configs/b.py': 'why'}) == []
    assert find_problems(models, folder, {'configs/*.py': 'why'}) == [
        'configs/a.py is in the metafile, and left out of it'
    ]
    (folder / 'configs' / 'b.py').unlink()
    (folder / 'configs' / 'a.py').unlink()
    assert find_problems(models, folder, {'configs/b.py': 'why'}) == [
        'configs/a.py is in the metafile, but not there',
        'configs/b.py is left out of the metafile, but no config',
    ]


def test_the_page_is_written_from_the_metafile(project):
    folder, content = project
    own = dict(content['Models'][0]['Results'][0], Source='measured here (run)')
    own['Metrics'] = {'Top 1 Accuracy': 88.25, 'Top 1 Accuracy Deviation': 0.5}
    content['Models'][0]['Results'].append(own)
    write(folder, content)
    # The reasons of this project name configs that the little one has not.
    with pytest.raises(GLSimError, match='is left out of the metafile, but no config'):
        write_page(folder)
    for pattern in LEFT_OUT:
        path = folder / pattern.replace('*', 'x')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('')
    (folder / 'docs' / 'reference').rmdir()
    with pytest.raises(GLSimError, match='in a checkout'):
        write_page(folder)
    (folder / 'docs' / 'reference').mkdir()
    text = write_page(folder).read_text(encoding='utf-8')
    assert '| [a](../../configs/a.py) | A | Birds | 224 | 86.0 | 17.0 | 90.5 (1) | 88.25 ± 0.50 (2) |' in text
    assert '1. published (x)\n2. measured here (run)\n' in text
    assert check_page(folder) == []
    (folder / 'docs' / 'reference' / 'model_zoo.md').write_text(text.replace('90.5', '99.5'), encoding='utf-8')
    assert check_page(folder) == [
        'docs/reference/model_zoo.md is not what configs/metafile.yml says; run python tools/model_zoo.py'
    ]


def test_command_line(root, project, capsys, monkeypatch):
    def call(*arguments):
        monkeypatch.setattr(sys, 'argv', ['model_zoo.py', *arguments])
        monkeypatch.setattr(sys, 'path', [str(root / 'tools'), *sys.path])
        try:
            runpy.run_path(str(root / 'tools' / 'model_zoo.py'), run_name='__main__')
        except SystemExit as end:
            return end.code
        return 0

    assert call('--check') == 0
    folder, content = project
    write(folder, content)
    assert call('--check', '--root', str(folder)) == 1
    assert 'docs/reference/model_zoo.md is not what configs/metafile.yml says' in capsys.readouterr().out
    assert call('--root', str(folder / 'elsewhere')) == 2
    assert 'cannot be read' in capsys.readouterr().err
    assert call('--cost', str(root / 'configs' / 'vit_cub.py')) == 0
    assert 'FLOPs: 17563213824' in capsys.readouterr().out
