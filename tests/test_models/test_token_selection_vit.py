"""TransFG's and FFVT's encoders and TransFG's loss, against references with full matrices."""

import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from glsim_mm.errors import GLSimError
from glsim_mm.models import FeatureFusionViT, GLSimViT, PartSelectionViT
from glsim_mm.models.heads.contrastive_head import contrastive_loss

ARCH = dict(embed_dims=32, num_layers=3, num_heads=2, feedforward_channels=64)
OPTIONS = dict(arch=ARCH, img_size=32, patch_size=8)
ENCODERS = [(PartSelectionViT, {}), (FeatureFusionViT, dict(tokens_per_layer=3))]


def build(encoder, **options):
    torch.manual_seed(0)
    model = encoder(**OPTIONS, **options)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def reference(model, images):
    """Fused sequence from explicit logits and full products, image by image."""
    x, _ = model.patch_embed(images)
    x = torch.cat((model.cls_token.expand(len(x), -1, -1), x), dim=1) + model.pos_embed
    products, parts = None, []
    for layer in list(model.layers)[:-1]:
        batch, length, width = x.shape
        qkv = layer.attn.qkv(layer.ln1(x)).reshape(batch, length, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
        logits = qkv[0] @ qkv[1].transpose(-2, -1) * (width // 2) ** -0.5
        attention = logits.softmax(-1)
        products = attention if products is None else attention @ products
        x = layer(x)
        weights = attention[:, :, 0, 1:].mean(1) * logits.softmax(-2)[:, :, 1:, 0].mean(1)
        parts.append([tokens[order[:3] + 1] for tokens, order in zip(x, weights.argsort(1, descending=True))])
    if isinstance(model, PartSelectionViT):
        parts = [[tokens[row[:, 0, 1:].argmax(-1) + 1] for tokens, row in zip(x, products)]]
    fused = torch.stack([torch.cat([x[i, :1], *(part[i] for part in parts)]) for i in range(len(x))])
    return model.ln1(model.layers[-1](fused))


@pytest.mark.parametrize('encoder, options', ENCODERS)
def test_last_layer_sees_what_the_reference_selects(encoder, options):
    model, images = build(encoder, out_type='raw', **options), torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(model(images)[0], reference(model, images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('encoder, options', ENCODERS)
def test_gradient_reaches_every_parameter_also_when_recomputing(encoder, options):
    images, gradients = torch.randn(2, 3, 32, 32), []
    for with_cp in (False, True):
        model = build(encoder, with_cp=with_cp, **options).train()
        model(images)[0].square().sum().backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        gradients.append(model.patch_embed.projection.weight.grad)
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize('encoder, options', ENCODERS)
@pytest.mark.parametrize('size', [(32, 48), (40, 24)])
def test_overlapping_patches_and_other_sizes(encoder, options, size):
    model = build(encoder, patch_cfg=dict(stride=6, padding=0), **options)
    assert model.patch_resolution == (5, 5)
    assert model(torch.randn(2, 3, *size))[0].shape == (2, 32)
    with pytest.raises(GLSimError, match='smaller than one patch of 8x8'):
        model(torch.randn(1, 3, 7, 32))


@pytest.mark.parametrize('encoder, options', ENCODERS)
def test_weights_of_a_plain_vit_load(encoder, options):
    plain, model = build(GLSimViT), build(encoder, patch_cfg=dict(stride=6, padding=0), **options)
    result = model.load_state_dict(plain.state_dict())
    assert not result.missing_keys and not result.unexpected_keys
    torch.testing.assert_close(model.layers[2].attn.qkv.weight, plain.layers[2].attn.qkv.weight)


def test_more_tokens_than_patches_are_refused():
    with pytest.raises(GLSimError, match='takes 17 patches from each layer, but the image has 16'):
        build(FeatureFusionViT, tokens_per_layer=17)(torch.randn(1, 3, 32, 32))


def test_contrastive_loss_by_hand():
    """Similarities: 0 and 1 the same class, s = 0.6; 0 and 2, s = 0.8; 1 and 2, s = 0.96."""
    features = torch.tensor([[2.0, 0.0], [0.6, 0.8], [4.0, 3.0]])
    loss = contrastive_loss(features, torch.tensor([0, 0, 1]))
    assert loss.item() == pytest.approx(2 * (0.4 + 0.4 + 0.56) / 3)


@pytest.mark.parametrize('encoder, options', ENCODERS)
def test_a_tiny_batch_is_learnt(encoder, options):
    torch.manual_seed(0)
    head = dict(type='PartContrastiveHead', num_classes=2, in_channels=32)
    model = MODELS.build(dict(type='ImageClassifier', backbone=dict(type=encoder, **OPTIONS, **options), head=head))
    model.init_weights()
    images, samples = torch.randn(4, 3, 32, 32), [DataSample().set_gt_label(i % 2) for i in range(4)]
    optimizer, totals = torch.optim.Adam(model.parameters(), lr=1e-3), []
    for _ in range(40):
        losses = model.loss(images, samples)
        assert set(losses) == {'loss', 'loss_contrastive'}
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.2 * totals[0]
