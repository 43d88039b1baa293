"""Linear layers on processors on which torch picks a slow library."""

from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils._python_dispatch import _get_current_dispatch_mode

_MARK = 'uses_onednn'


def use_fast_linear(module: nn.Module) -> None:
    """Let the linear layers of a model use oneDNN where torch would use a slower library, in place.

    PyTorch multiplies float32 matrices with MKL if it was built with it, and MKL does not use AVX-512 on AMD's
    processors. oneDNN, which every such build contains too, does, and is about twice as fast there. Results differ only
    by rounding; classes, parameters and names stay as they are. Nothing changes on other processors and GPUs, in mixed
    precision, while a graph is exported, or under a dispatch mode, such as a counter of FLOPs. Expires when PyTorch
    chooses the library by processor (aten/src/ATen/native/Linear.cpp).
    """
    if not prefers_onednn():
        return
    for child in module.modules():
        # mmcv's Linear, too, is nothing but torch's; other subclasses compute something of their own.
        if isinstance(child, nn.Linear) and type(child).__name__ == 'Linear' and not is_fast_linear(child):
            child.forward = partial(_forward, child)
            setattr(child, _MARK, True)


def use_torch_linear(module: nn.Module) -> None:
    """Undo :func:`use_fast_linear`, in place."""
    for child in module.modules():
        if is_fast_linear(child):
            delattr(child, _MARK)
            del child.forward


def is_fast_linear(module: nn.Module) -> bool:
    """Whether :func:`use_fast_linear` has replaced the module's ``forward``."""
    return hasattr(module, _MARK)


def linear_rows(module: nn.Linear, x: Tensor, start: int, end: int) -> Tensor:
    """The outputs ``start`` to ``end`` of a linear layer for inputs (..., I), with the library that the layer uses."""
    bias = None if module.bias is None else module.bias[start:end]
    multiply = _linear if is_fast_linear(module) else F.linear
    return multiply(x, module.weight[start:end], bias)


@cache
def prefers_onednn() -> bool:
    """Whether this is one of AMD's processors with AVX-512, and torch has both libraries."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    if torch.backends.cpu.get_cpu_capability() != 'AVX512' or not hasattr(torch.ops.mkldnn, '_linear_pointwise'):
        return False
    description = Path('/proc/cpuinfo')
    return description.exists() and 'AuthenticAMD' in description.read_text(errors='replace')


def _forward(module: nn.Linear, x: Tensor) -> Tensor:
    return _linear(x, module.weight, module.bias)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if not _applies(x, weight):
        return F.linear(x, weight, bias)
    needs_gradient = torch.is_grad_enabled() and (
        x.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
    )
    return _OneDNNLinear.apply(x, weight, bias) if needs_gradient else _multiply(x, weight, bias)


def _applies(x: Tensor, weight: Tensor) -> bool:
    return (
        x.device.type == 'cpu'
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled('cpu')
        and not torch.compiler.is_exporting()
        and not torch.jit.is_tracing()
        # Modes that look at every operator, as counters of FLOPs do, know only torch's own.
        and (torch.compiler.is_compiling() or _get_current_dispatch_mode() is None)
    )


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    # torch.compile takes oneDNN's operator for one of its own, whose weights must be constants.
    return _opaque_multiply(x, weight, bias) if torch.compiler.is_compiling() else _call_onednn(x, weight, bias)


def _call_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, 'none', [], '')


@torch.library.custom_op('glsim_mm::onednn_linear', mutates_args=())
def _opaque_multiply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return _call_onednn(x, weight, bias)


@_opaque_multiply.register_fake
def _shape_of_product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])


class _OneDNNLinear(torch.autograd.Function):
    """The operator has no gradient of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return _multiply(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        flat = gradient.reshape(-1, gradient.shape[-1]).contiguous()
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _multiply(flat, weight.t().contiguous()).view_as(x)
        if ctx.needs_input_grad[1]:
            of_weight = _multiply(flat.t().contiguous(), x.reshape(-1, x.shape[-1]).t().contiguous())
        if ctx.has_bias and ctx.needs_input_grad[2]:
            of_bias = flat.sum(dim=0)
        return of_x, of_weight, of_bias
