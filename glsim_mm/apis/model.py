"""A config's model with trained weights."""

import logging
from copy import deepcopy

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader
from mmpretrain.registry import DATASETS, MODELS
from torch import nn

from ..checkpoints.addresses import weights_for
from ..checkpoints.agreement import tell_differences, tell_nameless
from ..compat.devices import check_device
from ..engine.hooks.run_checks import check_complete, match_tensors
from ..errors import UserError
from ..models.classifiers import check_parts
from .config_errors import explain_config_errors


def load_model(cfg: Config, checkpoint: str, device: str | torch.device | None = None) -> nn.Module:
    """Build a config's model and fill it with the weights of a checkpoint, without running code from the file.

    Args:
        cfg: Config of the model.
        checkpoint: Path, URL or another address that mmengine knows.
        device: Defaults to the GPU if there is one.

    Returns:
        The model in evaluation mode, with ``_config`` and ``_dataset_meta`` (class names) as mmpretrain's inferencers
        want them.

    Raises:
        GLSimError: If the checkpoint cannot be read or is of another model, or the device is not there.
    """
    device = check_device(device)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
        model = build_model(cfg)
        content = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu', logger='silent')
        state = model.state_dict()
        weights = weights_for(state, content, checkpoint)
        check_complete(match_tensors(state, weights), checkpoint)
        tell_differences(cfg.model, (content.get('meta') or {}).get('model'), checkpoint)
        model.load_state_dict(weights, strict=False)  # whatever else the file holds is not this model's
        model._config = cfg
        num_classes = getattr(getattr(model, 'head', None), 'num_classes', None)
        model._dataset_meta = _dataset_meta(cfg, content.get('meta') or {}, num_classes)
    if num_classes:
        consequence = 'predictions are numbers, from 0 in the order of the training'
        tell_nameless(model._dataset_meta, f'checkpoint {checkpoint}', consequence)
    return model.to(device).eval()


def load_pretrained(cfg: Config, device: str | torch.device | None = None) -> nn.Module:
    """Build a config's model, which has no head, with the pretrained weights that its backbone names; prints nothing.

    Returns:
        As :func:`load_model`; the model knows no classes.

    Raises:
        GLSimError: If the weights cannot be had or are of another model, or the device is not there.
    """
    device = check_device(device)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
        model = build_model(cfg)
        logger = MMLogger.get_current_instance()
        level = logger.level
        logger.setLevel(logging.WARNING)  # how many tensors were read is for the logs of trainings
        try:
            model.backbone.init_weights()
        finally:
            logger.setLevel(level)
    model._config, model._dataset_meta = cfg, {}
    return model.to(device).eval()


def build_model(cfg: Config) -> nn.Module:
    """The model of a config, which is not changed, with its random weights; a part that does not fit is refused."""
    settings = deepcopy(cfg.model)
    settings.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    model = MODELS.build(settings)
    check_parts(model)
    return model


def check_model(cfg: Config) -> None:
    """Find out whether the model of a config can be built, which costs no memory and next to no time.

    mmengine prints hundreds of lines before it builds the model. What cannot be built without memory is left to it.

    Raises:
        GLSimError: If a field of the model is unknown, or its parts do not fit.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
        try:
            with explain_config_errors(), torch.device('meta'):
                check_parts(build_model(cfg), needs_head=True)
        except UserError:
            raise
        except Exception:  # noqa: BLE001  # whatever it is, the runner builds the model again and tells
            return


def _dataset_meta(cfg: Config, meta: dict, num_classes: int | None) -> dict:
    """What the checkpoint knows of its data, else what the class of the test set knows, if that fits the head."""
    known = meta.get('dataset_meta')
    if known:
        return known
    dataset_class = DATASETS.get(cfg.test_dataloader.dataset.type) if cfg.get('test_dataloader') else None
    published = getattr(dataset_class, 'METAINFO', {})
    return published if len(published.get('classes') or ()) == num_classes else {}
