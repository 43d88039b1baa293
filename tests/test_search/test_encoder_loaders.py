"""Galleries from any data loader."""

import numpy as np
import pytest
import torch
from counting_model import press_ctrl_c
from mmengine.config import Config
from mmengine.dataset import default_collate, pseudo_collate
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS
from torch.utils.data import DataLoader, TensorDataset

from glsim_mm.search import Encoder, build_gallery
from retrieval.errors import UserError
from retrieval.gallery import open_gallery

QUIET = dict(device='cpu', progress=False)


@pytest.fixture
def dataset(tiny_model):
    """The test set of the config, with its pipeline."""
    cfg = Config.fromfile(tiny_model[0])
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return DATASETS.build(cfg.test_dataloader.dataset)


@pytest.mark.parametrize('collate', [default_collate, pseudo_collate])
def test_loader_of_mmengine(dataset, tiny_model, tmp_path, collate):
    loader = DataLoader(dataset, batch_size=3, collate_fn=collate)
    report = build_gallery(loader, *tiny_model[:2], tmp_path / 'gallery', **QUIET)
    build_gallery(None, *tiny_model[:2], tmp_path / 'expected', dataset='test', **QUIET)
    assert report.size == report.encoded == 8
    with open_gallery(tmp_path / 'gallery') as gallery, open_gallery(tmp_path / 'expected') as expected:
        ids = gallery.ids()
        np.testing.assert_allclose(gallery.vectors(ids, 'crop'), expected.vectors(ids, 'crop'), atol=1e-4)
        for record, other in zip(gallery.records(ids), expected.records(ids)):
            assert record.path.endswith(other.path) and record.label == other.label
            assert record.content_hash == other.content_hash and tuple(record.box) == tuple(other.box)


def test_loader_of_tensors(tiny_model, tmp_path):
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.manual_seed(0))
    loader = DataLoader(TensorDataset(images, torch.arange(5)), batch_size=2)
    report = build_gallery(loader, *tiny_model[:2], tmp_path / 'gallery', **QUIET)
    encoder = Encoder(*tiny_model[:2], device='cpu')
    expected = encoder.forward(images).embeddings['global'].numpy()
    with open_gallery(tmp_path / 'gallery') as gallery:
        records = gallery.records(gallery.ids())
        unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(gallery.vectors(gallery.ids(), 'global'), unit, atol=1e-4)
    assert [record.label for record in records] == list('01234') and report.size == 5
    assert records[0].box is None and records[0].image_size is None and records[0].similarity_map.shape == (4, 4)


def test_a_stopped_build_goes_on(dataset, tiny_model, tmp_path, counter):
    loader = DataLoader(dataset, batch_size=2, collate_fn=default_collate)
    counter.stop_before, counter.stop = 1 + 6, press_ctrl_c
    with pytest.raises(KeyboardInterrupt):
        build_gallery(loader, *tiny_model[:2], tmp_path / 'gallery', seconds_between_commits=0.0, **QUIET)
    counter.stop_before = None
    counter.count = 0
    report = build_gallery(loader, *tiny_model[:2], tmp_path / 'gallery', **QUIET)
    assert (report.reused, report.encoded, report.size) == (4, 4, 8) and counter.count == 1 + 4


@pytest.mark.parametrize('batch', [{'images': torch.zeros(1, 3, 32, 32)}, 'text', torch.zeros(3, 32, 32), []])
def test_batches_of_another_form(tiny_model, tmp_path, batch):
    loader = DataLoader([0], collate_fn=lambda _: batch)
    with pytest.raises(UserError, match='a data loader must give'):
        build_gallery(loader, *tiny_model[:2], tmp_path / 'gallery', **QUIET)
