"""Layer-wise learning rate decay for models of other projects, and mixed precision on CPUs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from mmengine.optim import OptimWrapper
from mmpretrain.engine import LearningRateDecayOptimWrapperConstructor
from mmpretrain.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS
from torch import nn

from ..errors import GLSimError


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class BackboneLayerDecayConstructor(LearningRateDecayOptimWrapperConstructor):
    """mmpretrain's layer-wise decay for any model with a ``backbone`` that knows the depth of its layers.

    mmpretrain's own constructor asks the whole model for depths, which detectors and segmenters do not know. What is
    not in the backbone has the full learning rate. In a config of another project::

        optim_wrapper = dict(
            constructor='mmpretrain.BackboneLayerDecayConstructor',
            paramwise_cfg=dict(layer_decay_rate=0.7, norm_decay_mult=0.0))
    """

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = '',
        get_layer_depth: Callable[[str], tuple[int, int]] | None = None,
        **kwargs,
    ) -> None:
        """Add the parameters of the model, or in the recursion of a part of it, to the groups; see the parent."""
        if get_layer_depth is None and not hasattr(module, 'get_layer_depth'):
            backbone = getattr(module, 'backbone', None)
            if not hasattr(backbone, 'get_layer_depth'):
                raise GLSimError(
                    f'{type(backbone or module).__name__} does not know the depth of its layers: use GLSimViT, TimmViT '
                    'or a backbone of mmpretrain, or leave out BackboneLayerDecayConstructor.'
                )
            get_layer_depth = partial(backbone.get_layer_depth, prefix=f'{prefix}backbone.')
        super().add_params(params, module, prefix, get_layer_depth, **kwargs)


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Runs the forward pass under bfloat16 autocast on CPU; the loss needs no scaling in bfloat16.

    Takes the arguments of mmengine's :class:`OptimWrapper`::

        optim_wrapper = dict(type='CPUAmpOptimWrapper', optimizer=dict(type='SGD', lr=0.01))
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield

    def load_state_dict(self, state_dict: dict) -> None:
        """Load a state; the loss scale in that of a run on a GPU is not needed here."""
        super().load_state_dict({key: value for key, value in state_dict.items() if key != 'loss_scaler'})
