"""Predictions for images outside any data set."""

import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from mmengine import fileio
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.logging import print_log
from mmpretrain import ImageClassificationInferencer
from mmpretrain.registry import TRANSFORMS
from mmpretrain.structures import DataSample

from ..datasets.transforms.decoding import UnreadableImageError, decode_image
from ..errors import GLSimError
from .model import load_model
from .options import load_config

_LOADERS = ('LoadImage', 'LoadImageFromFile')
_SUFFIXES = {'.bmp', '.gif', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp'}


class GLSimInferencer(ImageClassificationInferencer):
    """Classifies images and says where the model looked.

    ``GLSimInferencer('configs/my.py', 'epoch_50.pth')(['a.jpg', 'b.jpg'], batch_size=2)`` returns one dict per image:
    ``pred_label`` (int), ``pred_class`` (str, where class names are known), ``pred_score`` (float, 0 to 1),
    ``pred_scores`` (K,), and for a GLSim model ``selected_box`` (4 floats, ``x0, y0, x1, y1`` in pixels of the network
    input) and ``similarity_map`` (h, w). Call arguments are those of mmpretrain's
    :class:`ImageClassificationInferencer`; images are paths or BGR arrays (H, W, 3) uint8.

    Args:
        config (str | Path | Config): Config of the model.
        checkpoint (str): Path or URL of its weights; read without running code from it.
        device (str | torch.device, optional): Defaults to the GPU if there is one.

    Raises:
        GLSimError: If config or checkpoint cannot be used.
    """

    def __init__(self, config: str | Path | Config, checkpoint: str, device: str | torch.device | None = None) -> None:
        cfg = config if isinstance(config, Config) else load_config(config)
        super().__init__(load_model(cfg, str(checkpoint), device))

    def _init_pipeline(self, cfg: Config) -> Compose:
        """The test pipeline without its loading step, in whose place the images come decoded."""
        steps = cfg.test_dataloader.dataset.pipeline
        return Compose([TRANSFORMS.build(step) for step in steps if not step['type'].endswith(_LOADERS)])

    def preprocess(self, inputs: Sequence[str | np.ndarray], batch_size: int = 1) -> Iterator[tuple]:
        """Decode files as training does (EXIF, transparency, 16 bits) and run the test pipeline.

        Raises:
            GLSimError: If a file cannot be read.
        """
        yield from super().preprocess(map(_decoded, inputs), batch_size)

    def postprocess(
        self, preds: list[DataSample], visualization: list[np.ndarray] | None, return_datasamples: bool = False
    ) -> list:
        """Results as plain values; see the class."""
        results = super().postprocess(preds, visualization, return_datasamples)
        if return_datasamples:
            return results
        for result, sample in zip(results, preds):
            if 'selected_box' in sample:
                result['selected_box'] = sample.selected_box.tolist()
                result['similarity_map'] = sample.similarity_map.cpu().numpy()
        return results


def _decoded(image: str | np.ndarray) -> np.ndarray:
    """An image as BGR (H, W, 3) uint8, from its path or as it is."""
    if isinstance(image, np.ndarray):
        return image
    try:
        return decode_image(fileio.get(image))
    except (OSError, UnreadableImageError) as error:
        raise GLSimError(f'image {image} cannot be read ({error}); replace it or leave it out') from error


def find_images(paths: Sequence[str | Path]) -> list[Path]:
    """Image files among paths and, recursively, in folders among them, each folder in order of names.

    Args:
        paths (Sequence[str | Path]): Files and folders.

    Returns:
        list[Path]: Files.

    Raises:
        GLSimError: If a path does not exist, or there is no image at all.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            files += sorted(file for file in path.rglob('*') if file.suffix.lower() in _SUFFIXES)
        elif path.is_file():
            files.append(path)
        else:
            raise GLSimError(f'{path} does not exist; check the path')
    if not files:
        raise GLSimError(f'there is no image in {", ".join(map(str, paths))}')
    return files


def predict_files(inferencer: GLSimInferencer, files: Sequence[Path], batch_size: int = 16) -> Iterator[dict]:
    """Predictions for image files; an unreadable one is logged and left out.

    Args:
        inferencer (GLSimInferencer): The model.
        files (Sequence[Path]): Image files.
        batch_size (int): Images per pass. Defaults to 16.

    Yields:
        dict: As :class:`GLSimInferencer` gives, and ``path`` (str).
    """
    images = _readable(files)
    while batch := list(islice(images, batch_size)):
        # Not through __call__, which draws a progress bar on standard output for each batch.
        (data,) = inferencer.preprocess([image for _, image in batch], batch_size)
        results = inferencer.postprocess(inferencer.forward(data), None)
        for (path, _), result in zip(batch, results):
            yield {'path': str(path), **result}


def _readable(files: Sequence[Path]) -> Iterator[tuple[Path, np.ndarray]]:
    for path in files:
        try:
            yield path, _decoded(str(path))
        except GLSimError as error:
            print_log(f'left out: {error}', logger='current', level=logging.WARNING)


def format_prediction(result: dict) -> str:
    """One line for a prediction: score in per cent, class, selected box, path.

    Args:
        result (dict): As :func:`predict_files` gives.

    Returns:
        str: For example ``' 93.1 %  Laysan Albatross  [48, 32, 160, 144]  photo.jpg'``.
    """
    name = result.get('pred_class', result['pred_label'])
    box = [round(value) for value in result['selected_box']] if 'selected_box' in result else ''
    return f'{100 * result["pred_score"]:5.1f} %  {name}  {box}  {result["path"]}'
