"""The selector that learns: a classifier of single patches."""

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from glsim_mm.errors import GLSimError
from glsim_mm.models import PIMSelector, TokenLayout

LAYOUT = TokenLayout((8, 8), 2)
CLASSES = 3


def build(num_classes=CLASSES, **neck):
    torch.manual_seed(0)
    arch = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
    return MODELS.build(
        dict(
            type='mmpretrain.GLSimClassifier',
            backbone=dict(type='GLSimViT', arch=arch, img_size=32, patch_size=8),
            neck=dict(type='PIMSelector', num_classes=num_classes, in_channels=32, top_o=3, **neck),
            head=dict(type='AggregatorHead', num_classes=CLASSES, in_channels=32, num_heads=1),
        )
    )


def samples_of(labels):
    return [DataSample().set_gt_label(label) for label in labels]


def informative_tokens(where, labels, seed, width=8):
    """Noise, but for one patch of each image that points into the direction of its class."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(len(labels), 2 + 24, width, generator=generator)
    tokens[torch.arange(len(labels)), 2 + where] = 6 * F.one_hot(labels, width).float()
    return tokens


def test_score_is_the_largest_class_probability():
    selector, tokens = PIMSelector(CLASSES, 8, top_o=4), torch.randn(2, 26, 8)
    regions = selector(tokens, torch.rand(2, 3, 32, 48), LAYOUT)
    expected = selector.classifier(tokens[:, 2:]).softmax(dim=-1).amax(dim=-1)
    torch.testing.assert_close(regions.scores, expected.detach())
    assert torch.equal(regions.indices, expected.topk(4).indices)
    assert regions.grid == (4, 6) and not regions.scores.requires_grad


def test_losses_by_hand():
    selector = PIMSelector(CLASSES, 8, mean_weight=0.5, select_weight=0.25, drop_weight=2.0, top_o=4)
    tokens, labels = torch.randn(2, 26, 8), [2, 0]
    regions = selector(tokens, torch.rand(2, 3, 32, 48), LAYOUT)
    losses = selector.loss(tokens, regions, samples_of(labels))
    logits = selector.classifier(tokens[:, 2:])
    selected, dropped = [], []
    for image, label in enumerate(labels):
        chosen = set(regions.indices[image].tolist())
        for patch in range(24):
            if patch in chosen:
                selected.append(F.cross_entropy(logits[image, patch], torch.tensor(label)))
            else:
                dropped.append(((logits[image, patch].tanh() + 1) ** 2).mean())
    assert losses.keys() == {'loss_pim_mean', 'loss_pim_select', 'loss_pim_drop'}
    mean = F.cross_entropy(logits.mean(dim=1), torch.tensor(labels))
    torch.testing.assert_close(losses['loss_pim_mean'], 0.5 * mean)
    torch.testing.assert_close(losses['loss_pim_select'], 0.25 * torch.stack(selected).mean())
    torch.testing.assert_close(losses['loss_pim_drop'], 2 * torch.stack(dropped).mean())


def test_losses_of_weight_zero_are_left_out_and_nothing_may_be_dropped():
    tokens, images = torch.randn(1, 26, 8), torch.rand(1, 3, 32, 48)
    selector = PIMSelector(CLASSES, 8, mean_weight=0.0, select_weight=1.0, top_o=24)
    losses = selector.loss(tokens, selector(tokens, images, LAYOUT), samples_of([1]))
    assert losses.keys() == {'loss_pim_select', 'loss_pim_drop'} and losses['loss_pim_drop'] == 0
    assert 'loss_pim_select' not in PIMSelector(CLASSES, 8).loss(
        tokens, selector(tokens, images, LAYOUT), samples_of([1])
    )


def test_mixed_labels_weigh_both_classes():
    selector, tokens = PIMSelector(CLASSES, 8, select_weight=1.0, top_o=2), torch.randn(1, 26, 8)
    regions = selector(tokens, torch.rand(1, 3, 32, 48), LAYOUT)
    mixed = [DataSample().set_gt_score(torch.tensor([0.25, 0.0, 0.75]))]
    pure = [selector.loss(tokens, regions, samples_of([label])) for label in (0, 2)]
    for name, loss in selector.loss(tokens, regions, mixed).items():
        torch.testing.assert_close(loss, 0.25 * pure[0][name] + 0.75 * pure[1][name])


def test_classifier_and_encoder_learn_from_the_auxiliary_loss():
    model = build().train()
    losses = model.loss(torch.randn(3, 3, 32, 32), samples_of([0, 1, 2]))
    assert {'loss', 'loss_pim_mean', 'loss_pim_drop'} == losses.keys()
    (losses['loss_pim_mean'] + losses['loss_pim_drop']).backward()
    assert model.neck.classifier.weight.grad.any() and model.neck.classifier.bias.grad.any()
    assert model.backbone.patch_embed.projection.weight.grad.any()
    assert all(p.grad is None for p in model.head.parameters())
    sum(model.loss(torch.randn(3, 3, 32, 32), samples_of([0, 1, 2])).values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_selects_the_informative_patch_after_a_short_training():
    torch.manual_seed(0)
    selector, images = PIMSelector(CLASSES, 8, top_o=1), torch.rand(60, 3, 32, 48)
    optimizer = torch.optim.AdamW(selector.parameters(), lr=0.05)
    labels = torch.arange(60) % CLASSES
    for step in range(60):
        where = torch.randint(24, (60,), generator=torch.Generator().manual_seed(step))
        tokens = informative_tokens(where, labels, seed=step)
        losses = selector.loss(tokens, selector(tokens, images, LAYOUT), samples_of(labels.tolist()))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    where = torch.randint(24, (60,), generator=torch.Generator().manual_seed(1000))
    regions = selector(informative_tokens(where, labels, seed=1000), images, LAYOUT)
    assert (regions.indices[:, 0] == where).float().mean() > 0.8  # by chance: 1 / 24


def test_scores_are_not_lowered_by_autocast():
    selector, tokens = PIMSelector(CLASSES, 8), torch.randn(1, 26, 8)
    expected = selector(tokens, torch.rand(1, 3, 32, 48), LAYOUT).scores
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(selector(tokens, torch.rand(1, 3, 32, 48), LAYOUT).scores, expected)


def test_predicts_where_it_looked():
    sample = build().eval().predict(torch.randn(1, 3, 32, 48))[0]
    assert sample.similarity_map.shape == (4, 6) and sample.selected_box.shape == (4,)


def test_other_classes_than_the_head_are_refused():
    with pytest.raises(GLSimError, match='set model.neck.num_classes=3'):
        build(num_classes=4)


@pytest.mark.parametrize('wrong', [dict(num_classes=0), dict(mean_weight=0.0)])
def test_settings_that_cannot_learn_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PIMSelector(**{'num_classes': CLASSES, 'in_channels': 8, **wrong})
