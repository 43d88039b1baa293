"""Selectors measured through the real command line, on a tiny set in CUB's layout."""

import csv
import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from tiny_run import call_tool, write_config

from glsim_mm.analysis.quality_study import measure_selectors, pipeline_with_boxes
from glsim_mm.apis import load_config
from glsim_mm.errors import GLSimError
from glsim_mm.evaluation import MEASURES
from glsim_mm.selectors import SELECTORS

EXTRA = """
boxes = dict(type='CUBFormat', data_root='{data}', split='test', pipeline=test_pipeline)
test_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False), dataset=boxes)
"""


@pytest.fixture
def config(tmp_path):
    """Six photos of 40 x 30 px with a bright box, three of which are tests."""
    data, generator = tmp_path / 'data', np.random.default_rng(0)
    (data / 'images').mkdir(parents=True)
    for index in range(1, 7):
        pixels = generator.integers(0, 60, (30, 40, 3), dtype=np.uint8)
        pixels[5:15, 8:28] += 180
        Image.fromarray(pixels).save(data / 'images' / f'{index}.png')
    tables = dict(
        images=[f'{i} {i}.png' for i in range(1, 7)],
        image_class_labels=[f'{i} {i % 2 + 1}' for i in range(1, 7)],
        train_test_split=[f'{i} {int(i > 3)}' for i in range(1, 7)],
        bounding_boxes=[f'{i} 8 5 20 10' for i in range(1, 7)],
        classes=['1 a', '2 b'],
    )
    for name, lines in tables.items():
        (data / f'{name}.txt').write_text('\n'.join(lines) + '\n')
    return write_config(tmp_path / 'quality.py', data, EXTRA.format(data=data))


def read(path):
    with open(path, encoding='utf-8') as file:
        return list(csv.DictReader(file))


def test_command_line_measures_every_selector(config, tmp_path, capsys):
    out = tmp_path / 'out'
    call_tool('analysis/selection_quality', config, '--top-o', 2, 4, '--sizes', 32, 48, '--out-dir', out)
    rows = read(out / 'selection_quality.csv')
    assert [(int(r['size']), r['selector'], int(r['top_o'])) for r in rows] == [
        (size, name, top_o) for size in (32, 48) for name in SELECTORS for top_o in (2, 4)
    ]
    assert all(0 <= float(row[name]) <= 100 for row in rows for name in MEASURES)
    assert {row['num_images'] for row in rows} == {'3'}
    # 20 x 10 of 40 x 30 pixels, and the square keeps that share.
    assert all(float(row['area']) == pytest.approx(100 / 6, abs=0.01) for row in rows)
    oracle = [row for row in rows if row['selector'] == 'oracle']
    assert all(float(row['box_covered']) == 100 and float(row['iou']) > 80 for row in oracle)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1] == '3 images; their boxes cover 16.7 % of an image'


@pytest.mark.parametrize('scale', [1, 2])
def test_every_o_equals_the_model_with_that_selector(config, scale):
    """One pass for all selectors and O gives what a model with one selector gives."""
    cfg = load_config(config, {'model.second_look': dict(scale=scale)})
    torch.manual_seed(0)
    rows = list(measure_selectors(cfg, None, ['gls', 'maws'], (3, 5)))
    from mmpretrain.registry import DATASETS, METRICS, MODELS

    assert {row.size for row in rows} == {32}
    for row in rows:
        torch.manual_seed(0)
        neck = dict(SELECTORS[row.selector].config, top_o=row.top_o)
        model = MODELS.build(
            {**cfg.model, 'neck': neck, 'data_preprocessor': cfg.data_preprocessor, '_scope_': 'mmpretrain'}
        )
        model.backbone.init_weights()
        metric = METRICS.build(dict(type='mmpretrain.SelectionQuality'))
        pipeline = pipeline_with_boxes(cfg.test_dataloader.dataset.pipeline, None)
        dataset = DATASETS.build({**cfg.test_dataloader.dataset, 'pipeline': pipeline, '_scope_': 'mmpretrain'})
        for item in dataset:
            batch = dict(inputs=[item['inputs']], data_samples=[item['data_samples']])
            with torch.no_grad():
                metric.process(None, [s.to_dict() for s in model.eval().test_step(batch)])
        expected = metric.evaluate(len(dataset))
        for name in MEASURES:
            assert row.measures[name] == pytest.approx(expected[f'selection/{name}'], abs=1e-3)


def test_some_images_only(config):
    (row,) = measure_selectors(load_config(config), None, ['center'], num_images=2)
    assert row.num_images == 2 and row.size == 32


def test_pipelines_of_other_sizes():
    steps = [
        dict(type='LoadImage'),
        dict(type='Resize', scale=300),
        dict(type='CenterCrop', crop_size=224),
        dict(type='mmpretrain.PackInputs', algorithm_keys=('mask',)),
    ]
    changed = pipeline_with_boxes(steps, 448)
    assert changed[1]['scale'] == 600 and changed[2]['crop_size'] == 448
    assert set(changed[3]['algorithm_keys']) == {'mask', 'gt_bboxes'} and steps[1]['scale'] == 300
    plain = pipeline_with_boxes([dict(type='Resize', scale=(64, 64)), dict(type='PackInputs')], 96)
    assert plain[0]['scale'] == 96
    for step in (dict(type='LoadImage'), dict(type='Resize', scale=(64, 32))):
        with pytest.raises(GLSimError, match='square Resize or CenterCrop'):
            pipeline_with_boxes([step, dict(type='PackInputs')], 96)
    with pytest.raises(GLSimError, match='must end with PackInputs'):
        pipeline_with_boxes(steps[:3], None)


def test_validation_while_training_logs_it(config, tmp_path):
    """Through the real command line; a plain twin, which selects nothing, is told so."""
    in_loop = """
test_pipeline[-1] = dict(type='PackInputs', algorithm_keys=('gt_bboxes',))
boxes.update(pipeline=test_pipeline)
train_dataloader.update(dataset=dict(boxes, split='train', pipeline=train_pipeline))
val_dataloader = test_dataloader
val_evaluator = [dict(type='Accuracy', topk=(1,)), dict(type='SelectionQuality')]
"""
    looped = config.with_name('looped.py')
    looped.write_text(config.read_text() + in_loop)
    call_tool('train', looped, '--work-dir', tmp_path / 'run')
    (log,) = (tmp_path / 'run').rglob('scalars.json')
    values = [json.loads(line) for line in log.read_text().splitlines()]
    logged = [entry for entry in values if 'selection/iou' in entry]
    assert len(logged) == 2 and all(0 <= entry[f'selection/{name}'] <= 100 for entry in logged for name in MEASURES)

    plain = config.with_name('plain_looped.py')
    head = "head=dict(type='LinearClsHead', num_classes=2, in_channels=32)"
    twin = f"model.update(type='ImageClassifier', neck=None, {head})"
    plain.write_text(looped.read_text() + twin + "\nmodel['backbone'].update(out_type='cls_token')\n")
    with pytest.raises(SystemExit) as exit_info:
        call_tool('train', plain, '--work-dir', tmp_path / 'plain')
    assert exit_info.value.code == 2


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--selectors', 'gls', 'magic'], "there is no selector 'magic'; choose from gls, "),
        (['--sizes', '4'], 'smaller than one patch'),
        (['--cfg-options', 'test_dataloader.dataset.data_root=/nowhere'], '/nowhere does not exist'),
    ],
)
def test_mistakes_end_in_one_sentence(config, arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_info:
        call_tool('analysis/selection_quality', config, *arguments)
    assert exit_info.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('error: ') and message in error


def test_data_without_boxes(config):
    cfg: Config = load_config(config)
    (config.parent / 'data' / 'bounding_boxes.txt').unlink()
    with pytest.raises(GLSimError, match='no test image has an annotated box'):
        list(measure_selectors(cfg, None, ['gls']))


def test_folder_that_cannot_be_written(config, tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    with pytest.raises(SystemExit):
        call_tool('analysis/selection_quality', config, '--selectors', 'gls', '--out-dir', tmp_path / 'file' / 'below')
    assert 'choose another place' in capsys.readouterr().err
