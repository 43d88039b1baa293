"""Predictions for images outside any data set."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose, default_collate
from mmengine.logging import print_log
from mmpretrain import ImageClassificationInferencer
from mmpretrain.registry import TRANSFORMS
from mmpretrain.structures import DataSample
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from ..errors import GLSimError
from ..images.sources import ImageInput, ImageSource, find_sources, read_source
from ..models.necks import SELECTORS
from ..visualization.from_sample import prediction_from_sample
from .config_errors import explain_config_errors
from .model import load_model
from .options import load_config
from .panel_writer import PanelWriter
from .pipeline_geometry import photo_from_input
from .prediction_results import to_result

# Not mmengine's logger, which writes to standard output, in between results.
LOGGER = logging.getLogger('glsim_mm.inferencer')
_LOADERS = ('LoadImage', 'LoadImageFromFile')
_PACKERS = ('PackInputs',)
_MAX_SHAPES = 256
_SHARED_FIELDS = ('top_o', 'box_end', 'crop_size', 'num_regions', 'region_method')


class _Image(NamedTuple):
    """One image on its way: read, or found unreadable."""

    number: int
    source: ImageSource
    sample: DataSample
    inputs: Tensor | None = None
    shape: tuple[int, int] = (0, 0)
    error: str | None = None


class GLSimInferencer(ImageClassificationInferencer):
    """Classifies images and says where the model looked.

    ``GLSimInferencer('configs/my.py', 'epoch_50.pth')(['a.jpg', 'folder', 'photos/**/*.png'], batch_size=8)`` returns
    one dict per image, in order:

    - ``index`` (int): place among the images; ``path`` (str), for files
    - ``pred_label`` (int), ``pred_score`` (float, 0 to 1), ``pred_scores`` (K,), and, where class names are known,
      ``pred_class`` (str)
    - ``top``: the likeliest classes, likeliest first, each a dict of ``label``, ``class`` (where known), ``score``
    - of a GLSim model, ``selected_box`` (4 floats, ``x0, y0, x1, y1`` in pixels of the network input),
      ``selected_box_image`` (the same in pixels of the upright photo, cut off at its border; None if the test pipeline
      cannot be followed back), and ``similarity_map`` (h, w), the larger the likelier selected; with several regions
      also ``selected_boxes`` and ``selected_boxes_image``
    - of an image that cannot be read, ``error`` (str) in place of all predictions, after one warning

    Args:
        config: Config of the model.
        checkpoint: Path or URL of its weights; read without running code from it.
        device: Defaults to the GPU if there is one.
        selector: Another selector than the config's: a short name (``'maws'``, see
            :data:`glsim_mm.models.necks.SELECTORS`) or type (``'MAWSSelector'``), which takes over ``top_o`` and the
            other fields that all selectors have; a dict with ``type``, used as it is; or a dict without, which changes
            fields of the config's.

    Raises:
        GLSimError: If config, checkpoint or selector cannot be used.
    """

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path,
        device: str | torch.device | None = None,
        selector: str | Mapping | None = None,
    ) -> None:
        cfg = config if isinstance(config, Config) else load_config(config)
        with explain_config_errors():
            super().__init__(load_model(_with_selector(cfg, selector), str(checkpoint), device))
        self._maps: dict[tuple[int, int], np.ndarray | None] = {}

    def __call__(
        self,
        inputs: ImageInput | Iterable[ImageInput],
        return_datasamples: bool = False,
        batch_size: int = 1,
        *,
        progress: bool = True,
        show: bool = False,
        wait_time: float = 0,
        show_dir: str | Path | None = None,
        top_k: int = 5,
    ) -> list:
        """Results for all images, as a list.

        Args:
            inputs: See :meth:`iterate`, as for the other arguments.
            return_datasamples: Data samples instead of dicts.
            batch_size: Images per pass.
            progress: Draw a progress bar on standard error.
            show: Show a panel of each image in a window.
            wait_time: Seconds for which to show it; 0 waits for a key.
            show_dir: Folder for a panel of each image.
            top_k: How many of the likeliest classes to list.

        Returns:
            One dict or data sample per image, see the class.

        Raises:
            GLSimError: See :meth:`iterate`.
        """
        results = self.iterate(
            inputs,
            return_datasamples,
            batch_size,
            progress=progress,
            show=show,
            wait_time=wait_time,
            show_dir=show_dir,
            top_k=top_k,
        )
        return list(results)

    def iterate(
        self,
        inputs: ImageInput | Iterable[ImageInput],
        return_datasamples: bool = False,
        batch_size: int = 1,
        *,
        progress: bool = False,
        show: bool = False,
        wait_time: float = 0,
        show_dir: str | Path | None = None,
        top_k: int = 5,
    ) -> Iterator[dict | DataSample]:
        """Results one by one while images are read; at most one batch of them is held in memory.

        Args:
            inputs: A path, URL, folder (searched recursively, in order of paths), glob pattern, array (H, W, 3) uint8
                BGR (also (H, W), or (H, W, 4) BGRA), or any iterable of these; iterables other than list and tuple are
                read one by one.
            return_datasamples: Data samples instead of dicts; for an unreadable image one with ``img_path`` and
                ``error`` alone.
            batch_size: Images per pass.
            progress: Draw a progress bar on standard error.
            show: Show a panel of each image in a window.
            wait_time: Seconds for which to show it; 0 waits for a key.
            show_dir: Folder for a panel of each image, at the place that the image has below the folder given.
            top_k: How many of the likeliest classes to list.

        Yields:
            One per image, in order; see the class.

        Raises:
            GLSimError: If a path does not exist, a folder or pattern holds no image, an array is no image, or none of
                the images can be read.
        """
        if batch_size < 1 or top_k < 1:
            raise GLSimError(f'batch_size and top_k must be 1 or more, got {batch_size} and {top_k}')
        sources = find_sources(inputs)
        writer = PanelWriter(show_dir, show, wait_time) if show or show_dir is not None else None
        try:
            for image in _track(self._predict(sources, batch_size), sources, progress):
                if writer is not None and image.inputs is not None:
                    prediction = prediction_from_sample(image.inputs, image.sample, self.classes, top_k)
                    writer(prediction, image.source.name or f'{image.number:06d}')
                yield image.sample if return_datasamples else self._to_dict(image, top_k)
        finally:
            if writer is not None:
                writer.close()

    def _init_pipeline(self, cfg: Config) -> Compose:
        """The test pipeline without its loading step, in whose place the images come decoded."""
        steps = cfg.test_dataloader.dataset.pipeline
        return Compose([TRANSFORMS.build(step) for step in steps if not _type_name(step).endswith(_LOADERS)])

    def _predict(self, sources: Iterable[ImageSource], batch_size: int) -> Iterator[_Image]:
        """Images with predictions, in order; those at the start that cannot be read wait for one that can."""
        found_one, waiting = False, []
        for batch in _batches(self._read(sources), batch_size):
            waiting += batch
            readable = [image for image in batch if image.error is None]
            found_one = found_one or bool(readable)
            if not found_one:
                continue
            packed = [{'inputs': image.inputs, 'data_samples': image.sample} for image in readable]
            samples = iter(self.forward(default_collate(packed)) if packed else ())
            for image in waiting:
                yield image if image.error else image._replace(sample=next(samples))
            waiting = []
        if waiting:
            others = f'; none of {len(waiting)} images can be read' if len(waiting) > 1 else ''
            raise GLSimError(f'{waiting[0].error}{others}')

    def _read(self, sources: Iterable[ImageSource]) -> Iterator[_Image]:
        """Images through the test pipeline."""
        for number, source in enumerate(sources):
            try:
                pixels = read_source(source)
            except GLSimError as error:
                if source.path is None:  # a mistake in the caller's code
                    raise
                print_log(f'left out: {error}', logger=LOGGER, level=logging.WARNING)
                sample = DataSample(metainfo=dict(img_path=source.path, error=str(error)))
                yield _Image(number, source, sample, error=str(error))
                continue
            shape = pixels.shape[:2]
            packed = self.pipeline(dict(img=pixels, img_shape=shape, ori_shape=shape))
            sample = packed['data_samples']
            if source.path is not None:
                sample.set_metainfo(dict(img_path=source.path))
            yield _Image(number, source, sample, packed['inputs'], shape)

    def _to_dict(self, image: _Image, top_k: int) -> dict:
        start: dict = {'index': image.number}
        if image.source.path is not None:
            start['path'] = image.source.path
        if image.error is not None:
            return {**start, 'error': image.error}
        matrix = self._photo_from_input(image.shape) if 'selected_box' in image.sample else None
        return {**start, **to_result(image.sample, self.classes, top_k, matrix, image.shape)}

    def _photo_from_input(self, shape: tuple[int, int]) -> np.ndarray | None:
        """As :func:`photo_from_input`, remembered for photos of one size."""
        if shape not in self._maps:
            if len(self._maps) >= _MAX_SHAPES:
                self._maps.clear()
            steps = [step for step in self.pipeline.transforms if not type(step).__name__.endswith(_PACKERS)]
            self._maps[shape] = photo_from_input(steps, shape)
        return self._maps[shape]


def _with_selector(cfg: Config, selector: str | Mapping | None) -> Config:
    """A config with another selector; the config itself stays as it is."""
    if selector is None:
        return cfg
    cfg = deepcopy(cfg)
    if 'GLSimClassifier' not in _type_name(cfg.model):
        raise GLSimError(f'{_type_name(cfg.model)} has no selector to replace; use the config of a GLSimClassifier')
    neck = cfg.model.get('neck') or ConfigDict(type='GLSimSelector')
    if isinstance(selector, str):
        kept = {name: neck[name] for name in _SHARED_FIELDS if name in neck}
        cfg.model.neck = ConfigDict(kept, **SELECTORS.get(selector, dict(type=selector)))
    else:
        cfg.model.neck = ConfigDict(selector if 'type' in selector else {**neck, **selector})
    return cfg


def _type_name(step: Mapping) -> str:
    return step['type'] if isinstance(step['type'], str) else step['type'].__name__


def _batches(images: Iterable[_Image], batch_size: int) -> Iterator[list[_Image]]:
    """Runs of images of one size; those that cannot be read ride along."""
    batch: list[_Image] = []
    num_readable, shape = 0, None
    for image in images:
        if image.inputs is not None:
            if num_readable == batch_size or (num_readable and image.inputs.shape != shape):
                yield batch
                batch, num_readable = [], 0
            num_readable, shape = num_readable + 1, image.inputs.shape
        batch.append(image)
        if num_readable == batch_size or len(batch) >= batch_size + _MAX_SHAPES:
            yield batch
            batch, num_readable = [], 0
    if batch:
        yield batch


def _track(images: Iterable[_Image], sources: Iterable[ImageSource], enable: bool) -> Iterator[_Image]:
    """Draw a progress bar on standard error; standard output is for results."""
    if not enable:
        yield from images
        return
    columns = TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, redirect_stdout=False, redirect_stderr=False) as bar:
        yield from bar.track(images, total=len(sources) if isinstance(sources, list) else None, description='Inference')
