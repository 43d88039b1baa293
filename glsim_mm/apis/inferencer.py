"""Predictions for images outside any data set."""

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmpretrain import ImageClassificationInferencer
from mmpretrain.structures import DataSample
from mmpretrain.visualization import UniversalVisualizer

from ..errors import GLSimError
from ..images.photos import ImageInput, ImageItem, find_images, read_photo
from ..images.preparing import LOGGER, Prepared, predict_images, unreadable
from ..images.results import to_result
from ..images.selection_strength import SelectionSummary
from ..models.classifiers import GLSimClassifier
from ..ops import BoxPolicy
from ..progress import ProgressBar
from ..selectors import SELECTORS
from ..visualization import Prediction, draw_panel, in_photo, write_picture
from ..visualization.from_sample import prediction_from_sample
from .config_errors import explain_config_errors
from .model import load_model
from .options import load_config
from .photo_pipeline import TestPipeline, type_name

_SHARED_FIELDS = (*BoxPolicy._fields, 'crop_size')


class GLSimInferencer(ImageClassificationInferencer):
    """Classifies images and says where the model looked.

    ::

        infer = GLSimInferencer('configs/my.py', 'epoch_50.pth')
        for result in infer(['a.jpg', 'folder', 'photos/**/*.png'], batch_size=8):
            print(result['path'], result['pred_class'], result['selected_box_image'])

    There is one dict per image, in order:

    - ``index`` (int): place among the images; ``path`` (str), for files
    - ``pred_label`` (int), ``pred_score`` (float, 0 to 1), ``pred_scores`` (K,), and, where class names are known,
      ``pred_class`` (str)
    - ``top``: the likeliest classes, likeliest first, each a dict of ``label``, ``class`` (where known), ``score``
    - of a GLSim model, ``selected_box`` (4 floats, ``x0, y0, x1, y1`` in pixels of the network input),
      ``selected_box_image`` (the same in pixels of the upright photo, cut off at its border; None if the test pipeline
      cannot be followed back), and ``similarity_map`` (h, w), the larger the likelier selected; with several regions
      also ``selected_boxes`` and ``selected_boxes_image``
    - of a file or bytes that cannot be read, ``error`` (str) in place of all predictions, after one warning; the other
      images are not affected

    Args:
        config: Config of the model.
        checkpoint: Path or URL of its weights; read without running code from it.
        device: Defaults to the GPU if there is one.
        selector: Another selector than the config's: a short name (``'maws'``, see
            :data:`glsim_mm.selectors.SELECTORS`) or type (``'MAWSSelector'``), which takes over ``top_o`` and the
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

    def __call__(
        self,
        inputs: ImageInput | Iterable[ImageInput],
        return_datasamples: bool = False,
        batch_size: int = 1,
        *,
        progress: bool = True,
        **options: Any,
    ) -> list:
        """Results for all images, as a list; takes the arguments of :meth:`iterate`."""
        return list(self.iterate(inputs, return_datasamples, batch_size, progress=progress, **options))

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
            inputs: Paths, addresses, folders, glob patterns, arrays (BGR), Pillow images, files' bytes, or any iterable
                of these, see :func:`glsim_mm.images.photos.find_images`.
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
            GLSimError: If a path does not exist, a folder or pattern holds no image, or an array is no image.
        """
        if batch_size < 1 or top_k < 1:
            raise GLSimError(f'batch_size and top_k must be 1 or more, got {batch_size} and {top_k}')
        items = find_images(inputs)
        total = len(items) if isinstance(items, list) else None
        summary = SelectionSummary()
        writer = _PanelWriter(show_dir, show, wait_time) if show or show_dir is not None else None
        try:
            with ProgressBar(total, 'classifying', progress) as bar:
                has_regions = isinstance(self.model, GLSimClassifier)
                for item, image, sample in predict_images(
                    items, self.pipeline, self._predict, batch_size, torch.stack, has_regions
                ):
                    if writer is not None and sample is not None:
                        sample.set_metainfo({'img_path': item.path or None})
                        prediction = prediction_from_sample(image.inputs, sample, self.classes, top_k)
                        photo = read_photo(item, background=self.pipeline.background).pixels[..., ::-1]
                        prediction = in_photo(prediction, np.ascontiguousarray(photo), image.matrix, image.part)
                        writer(prediction, item.name or f'{image.position:06d}')
                    if sample is not None and 'selected_box' in sample:
                        frame = (0, 0, *image.inputs.shape[:-3:-1])
                        heat = sample.get('similarity_map')
                        summary.add(sample.selected_box.tolist(), frame, None if heat is None else heat.cpu().numpy())
                    bar.advance()
                    if return_datasamples:
                        yield _to_sample(item, image, sample)
                    else:
                        yield self._to_dict(item, image, sample, top_k)
            for warning in summary.warnings():
                LOGGER.warning(warning)
        finally:
            if writer is not None:
                writer.close()

    def _init_pipeline(self, cfg: Config) -> TestPipeline:
        return TestPipeline(cfg)

    def _predict(self, inputs: torch.Tensor) -> list[DataSample]:
        return self.forward(dict(inputs=inputs))

    def _to_dict(self, item: ImageItem, image: Prepared, sample: DataSample | None, top_k: int) -> dict[str, Any]:
        found = DataSample() if sample is None else sample  # None for a photo that cannot be used
        boxes = found.get('selected_boxes', found.get('selected_box'))
        parts = (found.get('pred_score'), None if boxes is None else boxes.reshape(-1, 4), found.get('similarity_map'))
        scores, regions, maps = (None if part is None else part.detach().float().cpu().numpy() for part in parts)
        return to_result(item, image, scores, self.classes, top_k, regions, maps)


def _to_sample(item: ImageItem, image: Prepared, sample: DataSample | None) -> DataSample:
    """A data sample that says which photo it is of."""
    if sample is None:
        sample = DataSample(metainfo=dict(error=unreadable(item, image)))
    else:
        width, height = image.size
        sample.set_metainfo(dict(ori_shape=(height, width), img_shape=tuple(image.inputs.shape[-2:])))
    if item.path:
        sample.set_metainfo(dict(img_path=item.path))
    return sample


def _with_selector(cfg: Config, selector: str | Mapping | None) -> Config:
    """A config with another selector; the config itself stays as it is."""
    if selector is None:
        return cfg
    cfg = deepcopy(cfg)
    if 'GLSimClassifier' not in type_name(cfg.model):
        raise GLSimError(f'{type_name(cfg.model)} has no selector to replace; use the config of a GLSimClassifier')
    neck = cfg.model.get('neck') or ConfigDict(type='GLSimSelector')
    if isinstance(selector, str):
        kept = {name: neck[name] for name in _SHARED_FIELDS if name in neck}
        cfg.model.neck = ConfigDict(
            kept, **(SELECTORS[selector].config if selector in SELECTORS else dict(type=selector))
        )
    else:
        cfg.model.neck = ConfigDict(selector if 'type' in selector else {**neck, **selector})
    return cfg


class _PanelWriter:
    """Draws a panel of each prediction, to a folder, a window or both, and never two of one run to one file."""

    def __init__(self, folder: str | Path | None, show: bool, wait_time: float) -> None:
        self._folder = None if folder is None else Path(folder)
        self._wait_time = wait_time
        self._window = UniversalVisualizer() if show else None
        self._taken: set[str] = set()

    def __call__(self, prediction: Prediction, name: str) -> None:
        """Draw a panel; ``name`` is the relative path of the image, whose folders are kept."""
        panel = draw_panel(prediction, 224)
        if self._window is not None:
            self._window.show(panel, win_name=name, wait_time=self._wait_time)
        if self._folder is not None:
            path = self._folder / f'{self._free_name(name, prediction.path)}.png'
            write_picture(path, panel)

    def close(self) -> None:
        if self._window is not None:
            self._window.close()

    def _free_name(self, name: str, image_path: str | None) -> str:
        """The image's name without suffix, or, where taken, with its suffix, with its folder, or with a number."""
        relative = PurePosixPath(name)
        parent = Path(image_path).absolute().parent.name if image_path else ''
        candidates = [str(relative.with_suffix('')), str(relative), f'{parent}_{relative.name}']
        free = next((candidate for candidate in candidates if candidate.lower() not in self._taken), None)
        number = 2
        while free is None or free.lower() in self._taken:  # file systems may not tell case apart
            free = f'{relative}_{number}'
            number += 1
        self._taken.add(free.lower())
        return free
