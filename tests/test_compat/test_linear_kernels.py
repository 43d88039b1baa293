"""Linear layers through oneDNN: the same numbers, gradients and names, wherever the processor asks for it."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import Linear as MMCVLinear
from torch import nn

from glsim_mm.compat import linear_kernels
from glsim_mm.compat.linear_kernels import linear_rows, use_fast_linear, use_torch_linear

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason='torch without oneDNN')


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setattr(linear_kernels, 'prefers_onednn', lambda: True)  # on any processor
    torch.manual_seed(0)
    built = nn.Sequential(nn.Linear(12, 20), nn.GELU(), MMCVLinear(20, 8, bias=False))
    use_fast_linear(built)
    return built


def plain(model):
    built = copy.deepcopy(model)
    use_torch_linear(built)
    return built


@pytest.mark.parametrize('shape', [(3, 12), (2, 5, 12), (1, 1, 12)])
def test_values_and_gradients(model, shape):
    x = torch.randn(shape, requires_grad=True)
    wanted, found = plain(model)(x), model(x)
    torch.testing.assert_close(found, wanted)
    assert 'OneDNN' in type(found.grad_fn).__name__
    weight = torch.randn_like(wanted)
    a = torch.autograd.grad((found * weight).sum(), [x, *model.parameters()])
    other = plain(model)
    b = torch.autograd.grad((other(x) * weight).sum(), [x, *other.parameters()])
    for one, two in zip(a, b):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(model(x[..., :1, :]), wanted[..., :1, :])


def test_frozen_weights_and_inputs_without_gradient(model):
    model[0].requires_grad_(False)
    model(torch.randn(4, 12)).sum().backward()
    assert model[0].weight.grad is None and model[2].weight.grad.any()


def test_names_copies_and_checkpoints_stay(model):
    assert list(model.state_dict()) == ['0.weight', '0.bias', '2.weight']
    copied = copy.deepcopy(model)
    with torch.no_grad():
        copied[0].weight.zero_()
        copied[0].bias.zero_()
    x = torch.randn(2, 12)
    assert not copied(x).any() and model(x).any()
    copied.load_state_dict(model.state_dict())
    assert torch.equal(copied(x), model(x))


def test_mixed_precision_and_other_types_are_left_to_torch(model):
    x = torch.randn(2, 12)
    with torch.autocast('cpu', torch.bfloat16):
        assert model(x).dtype == torch.bfloat16
    doubled = copy.deepcopy(model).double()
    assert doubled(x.double()).dtype == torch.float64
    assert linear_rows(model[0], x, 3, 7).shape == (2, 4)
    torch.testing.assert_close(linear_rows(model[0], x, 3, 7), F.linear(x, model[0].weight, model[0].bias)[:, 3:7])


@pytest.mark.slow
def test_compiled_and_exported(model):
    x = torch.randn(3, 12)
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x))
    torch.testing.assert_close(compiled(x), model(x))  # with gradient
    program = torch.export.export(model, (x,))
    assert 'onednn' not in str(program.graph)
    torch.testing.assert_close(program.module()(x), model(x))
