"""``torch.compile`` of models and of configs with ``compile``."""

from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn


def pop_compile_options(cfg: Config) -> dict | None:
    """Remove ``compile`` from a config and return it as keyword arguments of ``torch.compile``; None without it.

    mmengine compiles the whole training step with the optimiser and the log inside, which recompiles until torch's
    limit (https://github.com/open-mmlab/mmengine/pull/976). Expires when mmengine compiles ``forward`` only.
    """
    options = cfg.pop('compile', None)  # True, False, or such arguments
    if not options:
        return None
    return {} if options is True else dict(options)


def compile_backbone(runner: Runner, options: dict) -> None:
    """Compile the backbone of a built runner in place, for both passes: it takes nearly all of the time.

    The names of weights stay as they are. The options are keyword arguments of ``torch.compile``.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    model.backbone.compile(**options)
    runner.logger.info('The backbone is compiled; the first iterations take longer.')


def use_python_drop_probabilities(module: nn.Module) -> None:
    """Turn stochastic depth rates into Python floats, in place.

    mmpretrain's ViT passes numpy floats, which torch.compile takes for tensors whose value decides a branch, so that
    the graph breaks (https://github.com/open-mmlab/mmpretrain/blob/v1.2.0/mmpretrain/models/backbones/
    vision_transformer.py). Expires when mmpretrain passes Python floats.
    """
    for child in module.modules():
        if hasattr(child, 'drop_prob'):
            child.drop_prob = float(child.drop_prob)
