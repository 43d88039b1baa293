"""MLPs that overwrite their own intermediate result: the same numbers, gradients and names, in less memory."""

import copy

import pytest
import timm
import torch
from mmcv.cnn.bricks.transformer import FFN
from mmpretrain.registry import MODELS
from torch import nn

from glsim_mm.models.utils import reuse_mlp_buffers
from glsim_mm.models.utils.mlp_buffers import OverwritingGELU, keep_mlp_buffers

ARCH = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
MLPS = {
    'mmcv': lambda: FFN(8, 32, act_cfg=dict(type='GELU')),
    'timm': lambda: timm.layers.Mlp(8, 32),
    'timm, tanh': lambda: timm.layers.Mlp(8, 32, act_layer=lambda: nn.GELU('tanh')),
}


@pytest.fixture(params=MLPS.values(), ids=MLPS)
def mlps(request):
    torch.manual_seed(0)
    plain = request.param().eval()
    reusing = copy.deepcopy(plain)
    reuse_mlp_buffers(reusing)
    return plain, reusing


def watch_memory(module, monkeypatch):
    """Whether each GELU of a model returns the memory it was given; hooks would change that."""
    found = []

    def watch(kind):
        forward = kind.forward

        def watched(self, x):
            pointer = x.data_ptr()
            out = forward(self, x)
            found.append(pointer == out.data_ptr())
            return out

        monkeypatch.setattr(kind, 'forward', watched)

    for kind in {type(child) for child in module.modules() if isinstance(child, nn.GELU)}:
        watch(kind)
    return found


def test_predictions_are_equal_and_overwrite(mlps, monkeypatch):
    plain, reusing = mlps
    x = torch.randn(2, 5, 8)
    before, found = x.clone(), watch_memory(reusing, monkeypatch)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            out = reusing(x)
        assert torch.equal(out, plain(x))
    assert torch.equal(x, before) and found == [True, True]


def test_gradients_are_equal_and_nothing_is_overwritten(mlps, monkeypatch):
    plain, reusing = mlps
    x, found = torch.randn(2, 5, 8), watch_memory(reusing, monkeypatch)
    reusing.train()(x).square().sum().backward()
    assert found == [False]
    plain.train()(x).square().sum().backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(plain.parameters(), reusing.parameters(), strict=True))


@pytest.mark.parametrize('which', [nn.GELU, nn.Linear])
def test_what_a_hook_keeps_is_not_overwritten(mlps, which):
    plain, reusing = mlps
    kept, x = {}, torch.randn(2, 5, 8)
    for model in mlps:
        for module in model.modules():
            if isinstance(module, which):
                module.register_forward_hook(
                    lambda _, args, out, key=model: kept.setdefault(key, []).append((args[0], out))
                )
    with torch.no_grad():
        plain(x), reusing(x)
    for a, b in zip(kept[plain], kept[reusing], strict=True):
        assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


def test_it_can_be_taken_back(mlps, monkeypatch):
    plain, reusing = mlps
    keep_mlp_buffers(reusing)
    found = watch_memory(reusing, monkeypatch)
    with torch.no_grad():
        reusing(torch.randn(2, 5, 8))
    assert found == [False] and str(reusing) == str(plain)


def test_names_copies_and_repeated_calls(mlps):
    plain, reusing = mlps
    assert list(reusing.state_dict()) == list(plain.state_dict())
    reuse_mlp_buffers(reusing)
    kept = [module for module in copy.deepcopy(reusing).modules() if isinstance(module, OverwritingGELU)]
    assert [module.approximate for module in kept] == [m.approximate for m in plain.modules() if type(m) is nn.GELU]


@pytest.mark.slow
def test_compiled_and_exported(mlps):
    plain, reusing = mlps
    x = torch.randn(2, 5, 8)
    with torch.no_grad():
        compiled = torch.compile(reusing, fullgraph=True, backend='aot_eager')
        torch.testing.assert_close(compiled(x), plain(x))
        program = torch.export.export(reusing, (x,))
    assert 'gelu_' not in str(program.graph)
    torch.testing.assert_close(program.module()(x), plain(x))


def test_other_modules_and_activations_stay():
    model = nn.Sequential(nn.Linear(4, 4), nn.GELU(), FFN(4, 8, act_cfg=dict(type='ReLU')))
    reuse_mlp_buffers(model)
    assert not any(isinstance(module, OverwritingGELU) for module in model.modules())


@torch.no_grad()
@pytest.mark.parametrize(
    'backbone',
    [
        dict(type='GLSimViT', arch=ARCH, img_size=32, patch_size=8),
        dict(type='VisionTransformer', arch=ARCH, img_size=32, patch_size=8, out_type='raw'),
        dict(type='TimmViT', model_name='vit_tiny_patch16_224', depth=2, embed_dim=32, num_heads=2, img_size=32),
    ],
    ids=lambda cfg: cfg['type'],
)
def test_every_mlp_of_a_model_overwrites(backbone, monkeypatch):
    head = dict(type='AggregatorHead', num_classes=3, in_channels=32)
    model = MODELS.build(dict(type='mmpretrain.GLSimClassifier', backbone=backbone, head=head)).eval()
    found = watch_memory(model, monkeypatch)
    images = torch.randn(2, 3, 32, 32)
    first = model(images)
    assert len(found) == 5 and all(found)  # two layers twice, and the aggregator
    assert torch.equal(model(images), first)
