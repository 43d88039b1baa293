"""Pictures of predictions while validating or testing."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

from mmengine.runner import Runner
from mmpretrain.engine import VisualizationHook
from mmpretrain.registry import HOOKS
from mmpretrain.structures import DataSample

from ...visualization import SELECTED_COLOR, draw_box, to_rgb_image
from .datasets import leaf_datasets


@HOOKS.register_module()
class PredictionPictureHook(VisualizationHook):
    """Draws predicted class and selected region on the network's input image.

    Takes the arguments of mmpretrain's :class:`VisualizationHook`, which swaps red and blue, and writes images of one
    file name in several class folders over each other. Here a picture lies at the path of its image below the data
    root, and the region that GLSim selected (``selected_box`` of a sample) is framed.
    """

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
        for index in range(first - start, len(samples), self.interval):
            sample = samples[index]
            name = picture_name(sample.get('img_path') or str(start + index), dataset, step)
            out_file = None if self.out_dir is None else os.path.join(self.out_dir, f'{name}.png')
            image = to_rgb_image(data_batch['inputs'][index])
            if 'selected_box' in sample:
                image = draw_box(image, sample.selected_box.tolist(), SELECTED_COLOR)
            self._visualizer.visualize_cls(
                image, sample, step=step, name=name, **{**self.draw_args, 'out_file': out_file}
            )


def picture_name(image_path: str, dataset: object, step: int) -> str:
    """Path of a picture without suffix.

    Args:
        image_path (str): Path of the image.
        dataset (object): Data set, or a wrapper of several, whose ``data_root`` is left out.
        step (int): Epoch of training, added if it is not 0.

    Returns:
        str: Relative path.
    """
    path = Path(image_path)
    roots = [getattr(leaf, 'data_root', None) for leaf in leaf_datasets(dataset)]
    root = next((root for root in roots if root and path.is_relative_to(root)), path.parent)
    name = str(path.relative_to(root).with_suffix(''))
    return f'{name}_{step}' if step else name
