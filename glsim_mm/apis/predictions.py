"""Predictions of a trained model on its test set, as pictures."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS
from mmpretrain.structures import DataSample
from PIL import Image
from torch import nn

from ..visualization import Prediction, contact_sheet, draw_prediction, to_rgb_image
from .model import load_model

SHEET = 'contact_sheet.png'


def draw_test_set(cfg: Config, checkpoint: str, out_dir: str | Path, num_images: int = 16) -> list[Path]:
    """Draw predictions on images spread evenly over the test set, one PNG file each and one of all of them.

    Args:
        cfg (Config): Config of the model and its test set.
        checkpoint (str): Path or URL of the weights.
        out_dir (str | Path): Folder for the pictures; made if need be.
        num_images (int): How many images, all if there are fewer. Defaults to 16.

    Returns:
        list[Path]: Files written, the contact sheet first.

    Raises:
        GLSimError: If the checkpoint or the data cannot be used.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
        model = load_model(cfg, checkpoint)
        folder = Path(out_dir)
        folder.mkdir(parents=True, exist_ok=True)
        pictures, paths = [], []
        for index, prediction in predict_some(model, dataset, num_images):
            pictures.append(draw_prediction(prediction))
            paths.append(folder / f'{index:05d}.png')
            Image.fromarray(pictures[-1]).save(paths[-1])
    Image.fromarray(contact_sheet(pictures)).save(folder / SHEET)
    return [folder / SHEET, *paths]


def predict_some(model: nn.Module, dataset: BaseDataset, num_images: int) -> Iterator[tuple[int, Prediction]]:
    """Predictions on images spread evenly over a data set.

    Args:
        model (nn.Module): Classifier of mmpretrain with its data preprocessor.
        dataset (BaseDataset): Whose pipeline ends with ``PackInputs``.
        num_images (int): How many images, all if there are fewer.

    Yields:
        tuple[int, Prediction]: Index in the data set, and what to draw.
    """
    for index in np.linspace(0, len(dataset) - 1, min(num_images, len(dataset))).round().astype(int):
        results, packed = _run_pipeline(dataset, int(index))
        if packed is None:  # unreadable
            continue
        with torch.no_grad():
            sample = model.test_step(pseudo_collate([packed]))[0]
        yield int(index), _to_prediction(packed['inputs'], sample, results, dataset.metainfo['classes'])


def _run_pipeline(dataset: BaseDataset, index: int) -> tuple[dict, dict | None]:
    """A sample before and after packing, which leaves boxes out."""
    *steps, pack = dataset.pipeline.transforms
    results = dataset.get_data_info(index)
    for step in steps:
        results = step(results)
        if results is None:
            return {}, None
    return results, pack(dict(results))


def _to_prediction(inputs: torch.Tensor, sample: DataSample, results: dict, classes: tuple[str, ...]) -> Prediction:
    label = int(sample.pred_score.argmax())
    boxes = results.get('gt_bboxes')
    return Prediction(
        image=to_rgb_image(inputs),
        predicted=classes[label],
        score=float(sample.pred_score[label]),
        truth=classes[int(results['gt_label'])] if 'gt_label' in results else None,
        selected_box=sample.selected_box.tolist() if 'selected_box' in sample else None,
        similarity_map=sample.similarity_map.cpu().numpy() if 'similarity_map' in sample else None,
        annotated_box=None if boxes is None else np.asarray(boxes).reshape(-1, 4)[0],
    )
