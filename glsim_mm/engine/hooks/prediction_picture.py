"""Pictures of predictions while validating or testing."""

import math
from collections.abc import Sequence
from pathlib import Path

from mmengine.runner import Runner
from mmpretrain.engine import VisualizationHook
from mmpretrain.registry import HOOKS
from mmpretrain.structures import DataSample
from PIL import Image

from ...visualization import draw_panel
from ...visualization.from_sample import prediction_from_sample
from .datasets import leaf_datasets


@HOOKS.register_module()
class PredictionPictureHook(VisualizationHook):
    """Draws a panel of each n-th prediction: image, where the model looked, and the likeliest classes.

    mmpretrain's :class:`VisualizationHook` swaps red and blue, and writes images of one file name in several class
    folders over each other. Here a picture lies at the path of its image below the data root. Without a folder the
    pictures go to the back-ends of the config's visualizer.

    Args:
        interval: Draw every n-th image.
        show: Show each panel in a window.
        out_dir: Folder for PNG files.
        wait_time: Seconds for which to show a panel; 0 waits for a key.
        side: Height of the images in a panel in pixels, at least 96.
    """

    def __init__(
        self,
        enable: bool = False,
        interval: int = 5000,
        show: bool = False,
        out_dir: str | None = None,
        wait_time: float = 0,
        side: int = 192,
    ) -> None:
        super().__init__(enable=enable, interval=interval, show=show, out_dir=out_dir)
        self.show = show
        self.wait_time = wait_time
        self.side = side

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[DataSample]) -> None:
        """Draw samples of a validation batch."""
        if self.enable:
            self._draw(runner.val_dataloader.dataset, batch_idx, data_batch, outputs, runner.epoch)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[DataSample]) -> None:
        """Draw samples of a test batch."""
        if self.enable:
            self._draw(runner.test_dataloader.dataset, batch_idx, data_batch, outputs, 0)

    def _draw(
        self,
        dataset: object,
        batch_idx: int,
        data_batch: dict,
        samples: Sequence[DataSample],
        step: int,
    ) -> None:
        start = batch_idx * len(samples)
        first = math.ceil(start / self.interval) * self.interval
        classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
        for index in range(first - start, len(samples), self.interval):
            sample = samples[index]
            name = picture_name(sample.get('img_path') or str(start + index), dataset, step)
            panel = draw_panel(prediction_from_sample(data_batch['inputs'][index], sample, classes), self.side)
            if self.show:
                self._visualizer.show(panel, win_name=name, wait_time=self.wait_time)
            if self.out_dir is None:
                self._visualizer.add_image(name.replace('/', '_'), panel, step)  # the local back-end makes no folders
                continue
            path = Path(self.out_dir, f'{name}.png')
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(panel).save(path)


def picture_name(image_path: str, dataset: object, step: int) -> str:
    """Path of a picture without suffix.

    Args:
        image_path: Path of the image.
        dataset: Data set, or a wrapper of several, whose ``data_root`` is left out.
        step: Epoch of training, added if it is not 0.

    Returns:
        Relative path.
    """
    path = Path(image_path)
    roots = [getattr(leaf, 'data_root', None) for leaf in leaf_datasets(dataset)]
    root = next((root for root in roots if root and path.is_relative_to(root)), path.parent)
    name = str(path.relative_to(root).with_suffix(''))
    return f'{name}_{step}' if step else name
