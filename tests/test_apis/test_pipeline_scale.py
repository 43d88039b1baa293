"""One field scales the pipelines of a config."""

from copy import deepcopy

import pytest
from tiny_run import write_config, write_images

from glsim_mm.apis import load_config
from glsim_mm.apis.photo_pipeline import TestPipeline, find_test_steps
from glsim_mm.apis.pipeline_scale import scale_pipelines, scale_steps
from glsim_mm.errors import GLSimError

FIELD = "model['second_look'] = dict(scale=2)\n"


def config(tmp_path, extra=''):
    return write_config(tmp_path / 'tiny.py', write_images(tmp_path / 'data'), extra)


def test_one_field_scales_every_pipeline_once(tmp_path):
    path = config(tmp_path)
    cfg = load_config(path, {'model.second_look': dict(scale=2)})
    loaders = cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader
    assert [loader.dataset.pipeline[1].scale for loader in loaders] == [(64, 64)] * 3
    assert cfg.train_pipeline[1].scale == (64, 64)
    before = deepcopy(cfg.to_dict())
    assert scale_pipelines(cfg).to_dict() == before, 'a config that a run has written is loaded as it is'
    assert load_config(path).train_pipeline[1].scale == (32, 32)


def test_config_objects_are_scaled_too(tmp_path):
    from mmengine.config import Config

    cfg = Config.fromfile(str(config(tmp_path, FIELD)))
    assert find_test_steps(cfg)[0]['scale'] == (64, 64) and cfg.test_pipeline[1].scale == (32, 32)
    assert TestPipeline(cfg).to_photo((128, 128)).tolist() == [[2, 0, 0], [0, 2, 0]]


def test_every_step_that_counts_pixels():
    steps = [
        dict(type='LoadImage', min_side=40),
        dict(
            type='mmpretrain.CachedTransforms',
            cache_dir='x',
            transforms=[dict(type='ResizeEdge', scale=40, edge='short'), dict(type='Resize', scale=(48, 40))],
        ),
        dict(type='RandomCrop', crop_size=32, padding=4),
        dict(type='RandomFlip', prob=0.5),
        dict(type='TestTimeAug', transforms=[[dict(type='CenterCrop', crop_size=(40, 32))], [dict(type='PackInputs')]]),
    ]
    scaled = scale_steps(steps, 2, (32, 40))
    assert scaled[0]['min_side'] == 80 and scaled[1]['transforms'][0]['scale'] == 80
    assert scaled[1]['transforms'][1]['scale'] == (96, 80) and scaled[1]['cache_dir'] == 'x'
    assert (scaled[2]['crop_size'], scaled[2]['padding'], scaled[3]) == (64, 8, steps[3])
    assert scaled[4]['transforms'][0][0]['crop_size'] == (80, 64)
    assert steps[0]['min_side'] == 40 and scale_steps(scaled, 2, (32, 40)) == scaled


def test_a_pipeline_of_another_size(tmp_path):
    with pytest.raises(GLSimError, match=r'delivers 32 px, but model.second_look.scale=2 wants 80 of the 40 px'):
        load_config(config(tmp_path), {'model.second_look': dict(scale=2), 'model.backbone.img_size': 40})
    with pytest.raises(GLSimError, match='from 1 to 16, got 0.5'):
        load_config(tmp_path / 'tiny.py', {'model.second_look': dict(scale=0.5)})
    write_config(tmp_path / 'tiny.py', tmp_path / 'data', FIELD + "del model['backbone']['img_size']\n")
    with pytest.raises(GLSimError, match='set model.backbone.img_size'):
        load_config(tmp_path / 'tiny.py')
