"""Embedding heads: every loss trains, its class vectors are parameters, and two processes take the step of one."""

import sys

import pytest
import torch
import torch.distributed as dist
from fresh_processes import run_ranks
from mmengine.optim import build_optim_wrapper
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

from glsim_mm.errors import GLSimError
from glsim_mm.models import EmbeddingHead, MetricLearningLoss
from retrieval import exact_search

LOSSES = {
    'ArcFaceLoss': dict(scale=16),
    'SubCenterArcFaceLoss': dict(scale=16, sub_centers=2),
    'SupConLoss': {},
    'ProxyAnchorLoss': {},
    'MultiSimilarityLoss': {},
}
CLASS_VECTORS = {'ArcFaceLoss': (16, 3), 'SubCenterArcFaceLoss': (16, 6), 'ProxyAnchorLoss': (3, 16)}
LABELS = torch.arange(12) % 3


def make_head(name='ProxyAnchorLoss', embedding_dims=16, seed=0, normalize=True, **options) -> EmbeddingHead:
    torch.manual_seed(seed)
    loss = dict(type='MetricLearningLoss', name=name, **LOSSES.get(name, {}), **options)
    config = dict(type='EmbeddingHead', num_classes=3, in_channels=32, num_heads=2, embedding_dims=embedding_dims)
    return MODELS.build(dict(config, normalize=normalize, loss=loss))


def make_samples(labels=LABELS) -> list[DataSample]:
    return [DataSample().set_gt_label(int(label)) for label in labels]


@pytest.fixture
def tokens() -> tuple[torch.Tensor]:
    """Class tokens of image and crop, 12 images of 3 classes, without structure."""
    return (torch.randn(12, 2, 32, generator=torch.Generator().manual_seed(1)),)


@pytest.mark.parametrize('name', LOSSES)
def test_a_few_images_are_learnt_by_heart(name, tokens):
    head = make_head(name)
    optimizer = build_optim_wrapper(head, dict(optimizer=dict(type='AdamW', lr=3e-3)))
    before = {key: value.clone() for key, value in head.state_dict().items()}
    losses = []
    for _ in range(40):
        loss = head.loss(tokens, make_samples())['loss']
        optimizer.update_params(loss)
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0] and losses[-1] == pytest.approx(min(losses), abs=0.3)
    after = head.state_dict()
    assert [key for key in after if torch.equal(after[key], before[key])] == []  # class vectors learn too

    head.eval()
    embeddings = head.pre_logits(tokens).detach().numpy()
    neighbours = exact_search(embeddings, embeddings, 2)[1][:, 1]
    assert (LABELS[neighbours] == LABELS).all()
    if name in CLASS_VECTORS:
        predictions = head.predict(tokens, make_samples())
        assert [int(sample.pred_label) for sample in predictions] == LABELS.tolist()
        assert predictions[0].pred_score.shape == (3,)
    else:
        assert 'pred_score' not in head.predict(tokens, make_samples())[0]
        assert len(head.predict(tokens)) == 12


@pytest.mark.parametrize('name', LOSSES)
def test_class_vectors_are_in_the_checkpoint(name, tokens):
    head, other = make_head(name), make_head(name, seed=1)
    shapes = [tuple(value.shape) for key, value in head.state_dict().items() if key.startswith('loss_module.')]
    assert shapes == ([CLASS_VECTORS[name]] if name in CLASS_VECTORS else [])
    head.eval(), other.eval()
    assert head.loss(tokens, make_samples()) != other.loss(tokens, make_samples())
    other.load_state_dict(head.state_dict())
    assert head.loss(tokens, make_samples()) == other.loss(tokens, make_samples())


def test_embeddings_are_the_projected_token(tokens):
    head = make_head(normalize=False).eval()
    expected = head.projection(head.aggregate(tokens[0])[:, 0])
    torch.testing.assert_close(head.pre_logits(tokens), expected)
    head.normalize = True
    torch.testing.assert_close(head.pre_logits(tokens).norm(dim=1), torch.ones(12))
    plain = make_head(embedding_dims=None, normalize=False).eval()
    torch.testing.assert_close(plain.pre_logits(tokens), plain.aggregate(tokens[0])[:, 0])
    assert isinstance(plain.projection, nn.Identity) and plain.loss_module.loss.proxies.shape == (3, 32)


@pytest.mark.parametrize('name', LOSSES)
def test_mixed_precision_leaves_class_vectors_in_float32(name, tokens):
    head = make_head(name).eval()
    exact = head.loss(tokens, make_samples())['loss']
    with torch.autocast('cpu', torch.bfloat16):
        loss = head.loss(tokens, make_samples())['loss']
        head.predict(tokens)
    loss.backward()
    assert loss.dtype == torch.float32
    assert {parameter.dtype for parameter in head.parameters()} == {torch.float32}
    assert {parameter.grad.dtype for parameter in head.parameters()} == {torch.float32}
    assert loss.item() == pytest.approx(float(exact), rel=0.05)


@pytest.mark.parametrize('name', LOSSES)
def test_a_batch_without_pairs_has_a_gradient(name, tokens):
    """Data-parallel training waits for the gradient of every parameter."""
    head = make_head(name)
    loss = head.loss((tokens[0][:3],), make_samples(LABELS[:3]))['loss']
    loss.backward()
    assert torch.isfinite(loss)
    assert [name for name, parameter in head.named_parameters() if parameter.grad is None] == []


def test_miner_chooses_the_pairs(tokens):
    every = make_head('MultiSimilarityLoss').eval()
    hard = make_head('MultiSimilarityLoss', miner=dict(name='MultiSimilarityMiner', epsilon=-0.5)).eval()
    assert hard.loss_module.miner.epsilon == -0.5
    losses = [float(head.loss(tokens, make_samples())['loss'].detach()) for head in (every, hard)]
    assert 0 < losses[1] < losses[0]


def test_loss_weight(tokens):
    losses = [make_head(loss_weight=weight).eval().loss(tokens, make_samples())['loss'] for weight in (1.0, 0.25)]
    assert float(losses[1]) == pytest.approx(0.25 * float(losses[0]))


def test_pair_losses_need_no_number_of_classes(tokens):
    loss = dict(type='MetricLearningLoss', name='SupConLoss')
    head = MODELS.build(dict(type='EmbeddingHead', in_channels=32, loss=loss))
    assert head.num_classes is None and torch.isfinite(head.loss(tokens, make_samples(LABELS + 100))['loss'])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(name='ArcfaceLoss'), "no 'ArcfaceLoss'"),
        (dict(name='ArcFaceLoss'), 'set num_classes of the head'),
        (dict(name='SupConLoss', temprature=1), "SupConLoss does not take \\['temprature'\\]"),
        (dict(name='SupConLoss', miner=dict(name='X')), "miners has no 'X'"),
    ],
)
def test_mistakes_of_a_config(options, message):
    with pytest.raises(GLSimError, match=message):
        MODELS.build(dict(type='EmbeddingHead', in_channels=32, loss=dict(type='MetricLearningLoss', **options)))


def test_other_losses_are_refused():
    with pytest.raises(ValueError, match='embedding_dims must be at least 1'):
        EmbeddingHead(3, 32, embedding_dims=0)
    head = make_head()
    mixed = [DataSample().set_gt_score(torch.tensor([0.5, 0.5, 0.0]))] * 2
    with pytest.raises(GLSimError, match='remove mixup and cutmix'):
        head.loss((torch.zeros(2, 2, 32),), mixed)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'pytorch_metric_learning', None)
    with pytest.raises(ImportError, match='pip install pytorch-metric-learning'):
        MetricLearningLoss('SupConLoss')


class _Model(nn.Module):
    """A head in data-parallel training."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.head = make_head(name)

    def forward(self, tokens: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.head.loss((tokens,), make_samples(labels))['loss']


def _take_gradients(rank: int, tokens: torch.Tensor, folder: str) -> None:
    """Gradients of one of two processes; the first writes them."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    gradients = {}
    for name in LOSSES:
        model = nn.parallel.DistributedDataParallel(_Model(name))
        share = slice(6 * rank, 6 * rank + 6)
        loss = model(tokens[share], LABELS[share])
        loss.backward()
        gradients[name] = [loss.detach(), *(parameter.grad for parameter in model.parameters())]
    if rank == 0:
        torch.save(gradients, f'{folder}/gradients.pth')
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_have_the_gradient_of_one(tokens, tmp_path):
    """Of the loss over both batches, for the encoder as for class vectors."""
    run_ranks(_take_gradients, tokens[0], str(tmp_path))
    found = torch.load(tmp_path / 'gradients.pth', weights_only=True)
    for name in LOSSES:
        model = _Model(name)
        loss = model(tokens[0], LABELS)
        loss.backward()
        expected = [loss.detach(), *(parameter.grad for parameter in model.parameters())]
        assert max(float(gradient.abs().max()) for gradient in expected[1:]) > 1e-3
        for one, two in zip(expected, found[name], strict=True):
            torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-6, msg=name)
