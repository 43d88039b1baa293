"""Cost measured through the real command line, on a tiny ViT."""

import csv
import multiprocessing

import pytest
import torch
from fresh_processes import server
from PIL import Image
from tiny_run import ROOT, call_tool

from glsim_mm.analysis.selection_cost_plot import spread_apart
from glsim_mm.analysis.selection_passes import PUBLISHED_SELECTIONS, Case, Passes, list_cases, vit_settings
from glsim_mm.errors import GLSimError


@pytest.fixture(scope='module')
def passes():
    """A ViT-Ti with random weights."""
    return Passes(vit_settings('vit-tiny'))


@pytest.mark.parametrize('name', PUBLISHED_SELECTIONS)
def test_both_ways_give_the_same_scores(passes, name):
    """What is compared is the same selection: ours, and as its authors compute it."""
    images = passes.images(64, 2)
    ours, published = (passes.run(Case(name, way), images).scores for way in ('fused', 'published'))
    torch.testing.assert_close(ours, published.reshape(ours.shape), atol=1e-5, rtol=1e-3)


def test_only_published_ways_give_up_fused_attention(passes, monkeypatch):
    calls = []
    original = torch.nn.functional.scaled_dot_product_attention

    class Spy(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func is original:
                calls.append(func)
            return func(*args, **(kwargs or {}))

    for case in list_cases():
        calls.clear()
        with Spy():
            passes.run(case, passes.images(32, 1))
        # The whole model encodes the crop too, and its aggregator has a layer.
        expected = {'fused': 12, 'whole model': 25, 'published': calls and 12 or 0}
        assert len(calls) == expected[case.way], case


@pytest.mark.slow
def test_command_line(tmp_path, capsys, monkeypatch):
    context = server()
    monkeypatch.setattr(multiprocessing, 'get_context', lambda method: context)  # in place of a spawned process
    out = tmp_path / 'cost'
    call_tool(
        'analysis/selection_cost', '--model', 'vit-tiny', '--sizes', 32, 48, '--repeats', 1, '--threads', 1,
        '--selectors', 'gls', 'maws', 'rollout', '--out-dir', out,
    )  # fmt: skip
    with open(out / 'selection_cost.csv', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    cases = list_cases(['gls', 'maws', 'rollout'])
    assert len(rows) == 2 * len(cases)
    assert {row['selector'] for row in rows} == {'none', 'gls', 'maws', 'rollout'}
    ratios = [float(value) for row in rows for name, value in row.items() if 'ratio' in name and value]
    assert ratios and min(ratios) > 0
    picture = Image.open(out / 'selection_cost.png').convert('RGB')
    colors = {color for _, color in picture.getcolors(picture.width * picture.height)}
    assert picture.width > 1000 and {(213, 94, 0), (0, 114, 178), (0, 158, 115)} <= colors  # curves and leaders
    output = capsys.readouterr().out
    assert max(map(len, output.splitlines())) <= 80
    assert all(name in output for name in ('gls', 'maws', 'rollout', '+ crop pass'))


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--sizes', '8'], 'smaller than'),
        (['--selectors', 'magic'], "there is no selector 'magic'"),
        (['--model', 'resnet'], "there is no ViT 'resnet'"),
        (['--config', ROOT / 'configs' / 'vit_demo.py'], 'give the config of a GLSimClassifier'),
    ],
)
def test_mistakes_end_in_one_sentence(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_info:
        call_tool('analysis/selection_cost', '--repeats', 1, '--no-plot', '--out-dir', tmp_path, *arguments)
    assert exit_info.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('error: ') and message in error


def test_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    with pytest.raises(SystemExit):
        call_tool('analysis/selection_cost', '--no-plot', '--out-dir', tmp_path / 'file' / 'below')
    assert capsys.readouterr().err.startswith('error: ')


def test_unknown_selector_and_model():
    with pytest.raises(GLSimError, match='choose from gls'):
        list_cases(['nothing'])
    with pytest.raises(GLSimError, match='choose from'):
        vit_settings('nothing')


@pytest.mark.parametrize(
    'places, expected',
    [
        ([0.5, 0.1, 0.9], [0.5, 0.1, 0.9]),
        ([0.5, 0.5], [0.55, 0.45]),  # alike, apart in both directions; the order of equal places is that of the curves
        ([0.0, 0.01, 0.02], [0.0, 0.1, 0.2]),
        ([1.0, 0.99], [1.0, 0.9]),
        ([0.5] * 21, [position / 20 for position in range(21)]),
        ([], []),
    ],
)
def test_labels_are_spread_apart(places, expected):
    found = spread_apart(places, 0.1)
    assert sorted(found) == pytest.approx(sorted(expected))
    assert [sorted(found).index(place) for place in found] == [
        sorted(range(len(places)), key=lambda index: places[index]).index(index) for index in range(len(places))
    ]
