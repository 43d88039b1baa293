"""Predictions of a trained model on a data set."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, Compose, pseudo_collate
from mmengine.runner import Runner
from torch import nn

from ..errors import GLSimError
from ..visualization import Prediction
from ..visualization.from_sample import prediction_from_sample
from .config_errors import explain_config_errors


def build_split(cfg: Config, split: str = 'test') -> BaseDataset:
    """Build a data set of a config with the pipeline of its test set.

    Args:
        cfg: A config.
        split: ``'test'``, ``'val'`` or ``'train'``.

    Raises:
        GLSimError: If the config has no such data set, its data is not there, or it is a wrapper of others.
    """
    loaders = [cfg.get(f'{name}_dataloader') for name in (split, 'test')]
    if not all(loader and 'dataset' in loader for loader in loaders):
        raise GLSimError(f'the config needs {split}_dataloader and test_dataloader; choose a config with data sets')
    settings, pipeline = loaders[0].dataset, loaders[1].dataset.get('pipeline')
    if 'pipeline' not in settings or pipeline is None:
        raise GLSimError(f'the {split} set of the config wraps other data sets; choose another --split')
    sampler = dict(type='mmengine.DefaultSampler', shuffle=False)
    with explain_config_errors():
        loader = dict(batch_size=1, num_workers=0, sampler=sampler, dataset=dict(settings, pipeline=pipeline))
        return Runner.build_dataloader(loader).dataset


def predict_at(model: nn.Module, dataset: BaseDataset, positions: Iterable[int]) -> Iterator[tuple[int, Prediction]]:
    """Position and prediction of some images of a data set; an unreadable one is left out.

    Args:
        model: Classifier of mmpretrain with its data preprocessor.
        dataset: Its pipeline ends with ``PackInputs``.
        positions: Which images.
    """
    for position, results, packed in read_at(dataset, positions):
        with torch.no_grad():
            sample = model.test_step(pseudo_collate([packed]))[0]
        prediction = prediction_from_sample(packed['inputs'], sample, class_names(dataset))
        yield position, replace(prediction, annotated_box=annotated_box(results), path=results.get('img_path'))


def spread(dataset: BaseDataset, num_images: int) -> list[int]:
    """Positions spread evenly over a data set; all of them for 0."""
    number = min(num_images, len(dataset)) or len(dataset)
    return np.linspace(0, len(dataset) - 1, number).round().astype(int).tolist()


def read_at(dataset: BaseDataset, positions: Iterable[int]) -> Iterator[tuple[int, dict, dict]]:
    """Position and sample of the images that can be read, before and after packing, which leaves boxes out."""
    *steps, pack = dataset.pipeline.transforms
    for position in positions:
        results = Compose(steps)(dataset.get_data_info(position))
        if results is not None:
            yield position, results, pack(dict(results))


def class_names(dataset: BaseDataset) -> Sequence[str] | None:
    """Names of the classes of a data set, None if it has none."""
    return dataset.metainfo.get('classes') or None


def annotated_box(results: dict) -> np.ndarray | None:
    """First annotated box of a sample, (4,), ``x0, y0, x1, y1`` in pixels; None if it has none."""
    boxes = np.asarray(results.get('gt_bboxes', ()), np.float32).reshape(-1, 4)
    return boxes[0] if len(boxes) else None


def image_name(results: dict, classes: Sequence[str] | None) -> str:
    """What to write below an image: its class, or its path where the class is unknown."""
    if 'gt_label' not in results:
        return str(results.get('img_path', ''))
    label = int(results['gt_label'])
    return classes[label] if classes is not None else str(label)
