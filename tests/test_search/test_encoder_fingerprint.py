"""A fingerprint tells models apart by what changes embeddings, and by nothing else."""

import pytest
import torch
from counting_model import write_weights
from mmengine.config import Config

from glsim_mm.apis.photo_pipeline import find_test_steps
from glsim_mm.search import Encoder
from retrieval.errors import UserError


@pytest.fixture
def cfg(tiny_model) -> Config:
    return Config.fromfile(tiny_model[0])


def differing(a: Encoder, b: Encoder) -> list[str]:
    names = ('weights', 'config', 'pipeline')
    return [name for name in names if getattr(a.fingerprint, name) != getattr(b.fingerprint, name)]


def test_three_hashes(encoder):
    fingerprint = encoder.fingerprint
    for value in (fingerprint.weights, fingerprint.config, fingerprint.pipeline):
        assert len(value) == 64 and int(value, 16) >= 0
    assert fingerprint.description == 'GLSimClassifier with CountingViT, weights.pth'


def test_what_changes_no_embedding_does_not_count(encoder, tiny_model, cfg, tmp_path):
    cfg.model.backbone.update(frozen_stages=1, init_cfg=dict(type='Pretrained', checkpoint='x.pth'))
    cfg.model.head.loss = dict(type='CrossEntropyLoss')
    cfg.test_dataloader.dataset.pipeline[0] = dict(type='LoadImageFromFile')
    cfg.test_dataloader.batch_size = 77
    content = torch.load(tiny_model[1], weights_only=True)
    content['meta'] = dict(epoch=3)
    torch.save(content, tmp_path / 'copy.pth')
    assert differing(encoder, Encoder(cfg, tmp_path / 'copy.pth', device='cpu', spaces=['crop'])) == []


def test_what_changes_embeddings_counts(encoder, tiny_model, cfg, tmp_path):
    other = write_weights(tiny_model[0], tmp_path / 'other.pth', seed=1)
    assert differing(encoder, Encoder(tiny_model[0], other, device='cpu')) == ['weights']
    cfg.test_dataloader.dataset.pipeline[1].scale = (40, 40)
    assert differing(encoder, Encoder(cfg, tiny_model[1], device='cpu')) == ['pipeline']
    cfg.test_dataloader.dataset.pipeline[1].scale = (32, 32)
    cfg.test_dataloader.dataset.pipeline[0].background = (0, 0, 0)
    dark = Encoder(cfg, tiny_model[1], device='cpu')
    assert dark.pipeline.background == (0, 0, 0) and differing(encoder, dark) == ['pipeline']
    cfg.model.neck.top_o = 4
    assert differing(encoder, Encoder(cfg, tiny_model[1], device='cpu')) == ['config', 'pipeline']
    cfg = Config.fromfile(tiny_model[0])
    cfg.data_preprocessor.mean = [0.0] * 3
    assert differing(encoder, Encoder(cfg, tiny_model[1], device='cpu')) == ['config']


def test_types_given_as_classes(encoder, tiny_model, cfg):
    from mmpretrain.datasets.transforms import PackInputs

    cfg.test_dataloader.dataset.pipeline[2] = dict(type=PackInputs)
    assert differing(encoder, Encoder(cfg, tiny_model[1], device='cpu')) == []


def test_where_the_pipeline_is_found(cfg):
    expected = [dict(step) for step in find_test_steps(cfg)]
    inner = cfg.test_dataloader.dataset
    cfg.test_dataloader.dataset = dict(type='RepeatDataset', times=1, dataset=inner)
    assert [dict(step) for step in find_test_steps(cfg)] == expected
    cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[inner, inner])
    assert [dict(step) for step in find_test_steps(cfg)] == expected
    cfg.test_dataloader = None
    assert [dict(step) for step in find_test_steps(cfg)] == expected  # of val_dataloader
    cfg.val_dataloader = None
    assert [dict(step) for step in find_test_steps(cfg)] == expected  # of the name test_pipeline
    cfg.test_pipeline = None
    with pytest.raises(UserError, match='no test pipeline'):
        find_test_steps(cfg)
