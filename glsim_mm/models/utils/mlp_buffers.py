"""MLPs that write into the memory they have, where nothing has to be kept for a backward pass."""

from collections.abc import Iterator

import torch
from mmcv.cnn.bricks.transformer import FFN
from torch import Tensor, nn

from .partial_blocks import full_name, is_observed


class OverwritingGELU(nn.GELU):
    """GELU that overwrites its input in predictions; with gradient, compiled or exported it is ``nn.GELU``.

    A ViT's MLP makes its largest tensors, four times as wide as the tokens, before and behind its GELU. One less of
    them means less memory at the peak of a batch, and fewer fresh pages from the system (docs/studies/performance.md).
    Nothing is overwritten that a hook could have kept: ``source`` is the module in which the layer lies whose output is
    overwritten, and the layer's name there.
    """

    def __init__(self, approximate: str, source: tuple[nn.Module, str]) -> None:
        super().__init__(approximate)
        self.source = source  # in a tuple, so that it does not become a child

    def forward(self, x: Tensor) -> Tensor:
        """GELU of floating-point numbers of any shape, which are overwritten while no gradient is recorded."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing() or self._is_watched():
            return super().forward(x)
        return torch.ops.aten.gelu_(x, approximate=self.approximate)

    def _is_watched(self) -> bool:
        parent, name = self.source
        return is_observed(self) or is_observed(getattr(parent, name))


def reuse_mlp_buffers(module: nn.Module) -> None:
    """Let the MLPs of mmcv (``FFN``) and timm (``Mlp``) inside a model overwrite what their first layer made, in place.

    Results are the same. Names of weights, other activations and other modules stay as they are.
    """
    for parent, name, source in list(_mlp_activations(module)):
        found = getattr(parent, name)
        if type(found) is nn.GELU:
            setattr(parent, name, OverwritingGELU(found.approximate, (parent, source)))


def keep_mlp_buffers(module: nn.Module) -> None:
    """Take :func:`reuse_mlp_buffers` back, in place."""
    for parent, name, _ in list(_mlp_activations(module)):
        found = getattr(parent, name)
        if type(found) is OverwritingGELU:
            setattr(parent, name, nn.GELU(found.approximate))


def _mlp_activations(module: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """MLPs' activations: the module that has each, its name there, and that of the layer before it."""
    for child in module.modules():
        if type(child) is FFN:  # its steps: linear layer, activation, dropout; the last is no Sequential
            yield from ((step, '1', '0') for step in child.layers if isinstance(step, nn.Sequential))
        elif full_name(child) == 'timm.layers.mlp.Mlp':
            yield child, 'act', 'fc1'
