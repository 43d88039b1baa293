"""Heads on the sum of unit-length class tokens, with and without a residual adapter."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import build_optim_wrapper
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from glsim_mm.errors import GLSimError
from glsim_mm.exporting.export_graph import ExportGraph
from glsim_mm.models import AdapterHead, FusedHead
from glsim_mm.models.heads.fused_head import local_triplets
from retrieval.adapter import Batch, adapter_loss
from retrieval.whitening import Residual, add_views

LABELS = torch.arange(12) % 3
LOSSES = {
    'cosine': dict(type='CosineCrossEntropyLoss', scale=16),
    'ArcFaceLoss': dict(type='MetricLearningLoss', name='ArcFaceLoss', scale=16),
    'SupConLoss': dict(type='MetricLearningLoss', name='SupConLoss'),
}


def make_head(kind='FusedHead', loss='cosine', **options):
    torch.manual_seed(0)
    return MODELS.build(dict(type=kind, num_classes=3, in_channels=32, loss=LOSSES.get(loss), **options))


def make_samples(labels=LABELS):
    return [DataSample().set_gt_label(int(label)) for label in labels]


@pytest.fixture
def tokens():
    return (torch.randn(12, 2, 32, generator=torch.Generator().manual_seed(1)),)


def test_the_embedding_is_the_sum_that_a_gallery_keeps(tokens):
    head = make_head()
    found = head.pre_logits(tokens)
    expected = add_views([tokens[0][:, 0].numpy(), tokens[0][:, 1].numpy()])
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)
    assert [name for name, _ in head.named_parameters()] == ['loss_module.weight']
    torch.testing.assert_close(make_head('AdapterHead').pre_logits(tokens), found)  # zero at first
    torch.testing.assert_close(head.pre_logits((tokens[0] * 7,)), found)


def test_the_loss_is_cross_entropy_of_scaled_cosines(tokens):
    head = make_head()
    cosines = F.cosine_similarity(head.pre_logits(tokens)[:, None], head.loss_module.weight[None], dim=-1)
    torch.testing.assert_close(head(tokens), 16 * cosines)
    found = head.loss(tokens, make_samples())['loss']
    torch.testing.assert_close(found, F.cross_entropy(16 * cosines, LABELS))


@pytest.mark.parametrize('loss', LOSSES)
def test_class_tokens_are_learnt_by_every_loss(loss, tokens):
    """There is nothing in the head to learn by heart with: the tokens stand for the encoder."""
    head, learned = make_head(loss=loss), torch.nn.Parameter(tokens[0].clone())
    optimizer = torch.optim.Adam([learned, *head.parameters()], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        head.loss((learned,), make_samples())['loss'].backward()
        optimizer.step()
    if head.classifies:
        assert torch.equal(head((learned,)).argmax(dim=1), LABELS)
        assert head.predict((learned,))[0].pred_score.sum().item() == pytest.approx(1, abs=1e-4)
    similar = head.pre_logits((learned,)) @ head.pre_logits((learned,)).T - 2 * torch.eye(12)
    assert torch.equal(LABELS[similar.argmax(dim=1)], LABELS)


@pytest.mark.parametrize('margin,preserve', [(0.1, 1.0), (0.6, 0.3)])
def test_the_adapter_is_trained_as_on_stored_vectors(tokens, margin, preserve):
    """Loss and gradients are those of NumPy's; only there every image has another of its class."""
    head = make_head('AdapterHead', loss=None, hidden_dims=20, margin=margin, preserve=preserve)
    torch.nn.init.normal_(head.adapter.second.weight, std=0.1, generator=torch.Generator().manual_seed(3))
    losses = head.loss(tokens, make_samples())
    assert set(losses) == {'loss_triplet', 'loss_preserve'}
    sum(losses.values()).backward()
    arrays = [one.detach().numpy() for one in (head.adapter.first.weight, head.adapter.first.bias)]
    arrays += [one.detach().numpy() for one in (head.adapter.second.weight, head.adapter.second.bias)]
    rows = FusedHead.pre_logits(head, tokens).numpy()
    loss, gradients = adapter_loss(Residual(*arrays), Batch(rows, LABELS.numpy()), margin, preserve)
    assert sum(losses.values()).item() == pytest.approx(loss, abs=1e-5)
    parameters = (head.adapter.first.weight, head.adapter.first.bias, *head.adapter.second.parameters())
    for parameter, gradient in zip(parameters, gradients):
        np.testing.assert_allclose(parameter.grad, gradient, atol=1e-5)
    np.testing.assert_allclose(head.pre_logits(tokens).detach(), Residual(*arrays).apply(rows), atol=1e-6)
    assert not head.classifies and len(head.predict(tokens)) == 12


def test_triplets_without_a_partner_count_nothing(tokens):
    rows = F.normalize(tokens[0][:, 0], dim=-1).requires_grad_()
    alone = local_triplets(rows, torch.arange(12), 0.5)
    alone.backward()
    assert alone == 0 and torch.equal(rows.grad, torch.zeros_like(rows))
    assert local_triplets(rows, torch.zeros(12, dtype=torch.int64), 0.5) == 0


def test_the_adapter_learns_beside_another_loss(tokens):
    head = make_head('AdapterHead')
    optimizer = build_optim_wrapper(head, dict(optimizer=dict(type='AdamW', lr=3e-3)))
    for _ in range(60):
        losses = head.loss(tokens, make_samples())
        optimizer.update_params(sum(losses.values()))
    assert torch.equal(head(tokens).argmax(dim=1), LABELS)


@pytest.mark.parametrize('kind,loss', [('FusedHead', 'cosine'), ('AdapterHead', None)])
def test_a_classifier_trains_and_becomes_one_graph(kind, loss):
    arch = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
    config = dict(
        type='GLSimClassifier',
        backbone=dict(type='GLSimViT', img_size=32, patch_size=8, arch=arch),
        neck=dict(type='GLSimSelector', top_o=3),
        head=dict(type=kind, num_classes=3 if loss else None, in_channels=32, loss=LOSSES.get(loss)),
    )
    model = MODELS.build(config)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    sum(model.loss(images, make_samples(LABELS[:4] % 2)).values()).backward()
    assert model.backbone.patch_embed.projection.weight.grad.abs().sum() > 0
    model.eval()
    with torch.no_grad():
        graph = ExportGraph(model, classify=loss is not None)
        batch = ({0: torch.export.Dim('batch', min=1, max=64)},)
        program = torch.export.export(graph, (images[:2] * 255,), dynamic_shapes=batch).module()
        for found, wanted in zip(program(images * 255), graph(images * 255)):
            torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    'config,message',
    [
        (dict(num_classes=None), 'CosineCrossEntropyLoss has a vector per class: set num_classes'),
        (dict(loss=dict(type='CosineCrossEntropyLoss', scale=0)), 'scale must be above 0'),
        (dict(loss=dict(type='CrossEntropyLoss')), 'FusedHead needs loss.type CosineCrossEntropyLoss'),
        (dict(loss=None), 'FusedHead needs loss.type CosineCrossEntropyLoss'),
    ],
)
def test_heads_that_cannot_be(config, message):
    with pytest.raises(GLSimError, match=message):
        MODELS.build({**dict(type='FusedHead', num_classes=3, in_channels=32), **config})
    assert issubclass(AdapterHead, FusedHead)
    with pytest.raises(GLSimError, match='FusedHead fuses the CLS tokens of an image and its crop'):
        make_head().pre_logits((torch.randn(2, 32),))
