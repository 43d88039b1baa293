"""Parameters and multiply-adds of a config's model, counted without weights and without computing."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from ..apis.pipeline_scale import scale_pipelines
from ..errors import GLSimError


class ModelCost(NamedTuple):
    """What a model takes.

    Attributes:
        parameters: Numbers that training may change, frozen ones among them.
        multiply_adds: Of the matrix products and convolutions for one image, attention, selection and crops included;
            half of the FLOPs. OpenMMLab's metafiles call this number FLOPs.
        image_size: Side of that image in pixels.
    """

    parameters: int
    multiply_adds: int
    image_size: int


def input_size(cfg: Config) -> int:
    """Side in pixels of the square images that the test pipeline of a config makes."""
    for step in reversed(cfg.test_dataloader.dataset.pipeline):
        size = step.get('crop_size', step.get('scale'))
        if isinstance(size, int):
            return size
    raise GLSimError('no step of the test pipeline crops or resizes to a square; give crop_size or scale as one number')


def count_cost(cfg: Config) -> ModelCost:
    """Count a model's parameters, and its multiply-adds for one image of the config's own size.

    The config is that of a classifier whose features need no annotation, or of a retriever with such an encoder.
    """
    cfg = scale_pipelines(deepcopy(cfg))
    size = input_size(cfg)
    with torch.device('meta'), _ValuesOfLinspace():
        model = _build(cfg)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    # Tensors with shapes only, as 'meta' has them too, but of a device for which autocast exists. The unfused attention
    # consists of products that the counter knows on every device.
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model.to_empty(device='cpu').requires_grad_(False)  # the counter would hook parameters that are transposed
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, 3, size, size), mode='tensor')
    return ModelCost(parameters, counter.get_total_flops() // 2, size)


class _ValuesOfLinspace(TorchFunctionMode):
    """Encoders read their rates of stochastic depth out of a ``linspace`` while they are built."""

    def __torch_function__(
        self, func: Callable, types: tuple, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        return func(*args, **{**kwargs, 'device': 'cpu'}) if func is torch.linspace else func(*args, **kwargs)


def _build(cfg: Config) -> nn.Module:
    """The model, not initialised; of a retriever its encoder."""
    settings = Config(dict(model=cfg.model.to_dict())).model
    settings = settings.get('image_encoder', settings)
    settings.backbone.pop('init_cfg', None)
    if 'pretrained' in settings.backbone:
        settings.backbone.pretrained = False
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
        return MODELS.build(settings).eval()


def describe_cost(path: str | Path) -> str:
    """The counted fields of a config's entry in ``configs/metafile.yml``, as YAML."""
    cost = count_cost(Config.fromfile(path))
    fields = {'Image Size': cost.image_size, 'FLOPs': cost.multiply_adds, 'Parameters': cost.parameters}
    return '\n'.join([f'# {path}', *(f'{name}: {value}' for name, value in fields.items())])
