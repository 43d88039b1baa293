"""Hooks that draw panels of where the model looks, in validation, test and training."""

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, IterBasedTrainLoop, Runner
from mmpretrain.engine import VisualizationHook
from mmpretrain.registry import HOOKS
from mmpretrain.structures import DataSample
from torch import nn
from torch.utils.data import DataLoader

from ...datasets.class_mapping import leaf_datasets
from ...errors import GLSimError
from ...visualization import Prediction, contact_sheet, draw_panel, write_picture
from ...visualization.from_sample import prediction_from_sample
from .wrappers import unwrap_model


@HOOKS.register_module()
class PredictionPictureHook(VisualizationHook):
    """Draws a panel of each n-th prediction: image, where the model looked, and the likeliest classes.

    mmpretrain's :class:`VisualizationHook` swaps red and blue, and writes images of one file name in several class
    folders over each other. Here a picture lies at the path of its image below the data root. Without a folder the
    pictures go to the back-ends of the config's visualizer::

        default_hooks = dict(visualization=dict(type='PredictionPictureHook', enable=True, out_dir='pictures'))

    Args:
        interval: Draw every n-th image.
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
        self.show, self.wait_time, self.side = show, wait_time, side

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[DataSample]) -> None:
        if self.enable:
            self._draw(runner.val_dataloader, batch_idx, data_batch, outputs, runner.epoch)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[DataSample]) -> None:
        if self.enable:
            self._draw(runner.test_dataloader, batch_idx, data_batch, outputs, 0)

    def _draw(
        self, loader: DataLoader, batch_idx: int, data_batch: dict, samples: Sequence[DataSample], step: int
    ) -> None:
        dataset, start = loader.dataset, batch_idx * (loader.batch_size or len(samples))
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
            write_picture(path, panel)


def picture_name(image_path: str, dataset: object, step: int) -> str:
    """Relative path of a picture, without suffix: that of its image below the ``data_root``, and the epoch if not 0."""
    path = Path(image_path)
    roots = [getattr(leaf, 'data_root', None) for leaf in leaf_datasets(dataset)]
    root = next((root for root in roots if root and path.is_relative_to(root)), path.parent)
    name = str(path.relative_to(root).with_suffix(''))
    return f'{name}_{step}' if step else name


@HOOKS.register_module()
class SelectionPanelHook(Hook):
    """Logs panels of the same few validation images after validation, to see how the selection changes in training.

    The images are spread evenly over the validation set. Panels go to every back-end of the config's visualizer
    (``LocalVisBackend``, ``TensorboardVisBackend``, ``WandbVisBackend``) as RGB images under the name
    ``selection_panels`` (one sheet) or ``selection_panel_INDEX`` (one each), with the number of epochs, or iterations
    of an iteration-based loop, as step. Models without a selector get panels without heat map and crop.

    The main process alone draws, with the weights that were validated (averaged ones with mmengine's ``EMAHook``).
    Random generators and the modes of the model's modules are left as they were, so that training goes on as without
    the hook::

        default_hooks = dict(selection_panel=dict(type='SelectionPanelHook', enable=True, num_images=16))

    Args:
        interval: Epochs between panels, or iterations of an iteration-based loop; drawn where validation takes place,
            and after the last epoch.
        num_images: How many images, all if there are fewer.
        sheet: One picture of all panels, instead of one each.
        columns: Panels side by side on the sheet.
        side: Height of the images in a panel in pixels, at least 96.

    Raises:
        GLSimError: If ``interval``, ``num_images`` or ``columns`` is less than 1, or ``side`` less than 96.
    """

    # After validation, mmengine's EMAHook (NORMAL) puts the last weights back.
    priority = 'ABOVE_NORMAL'

    def __init__(
        self,
        enable: bool = False,
        interval: int = 1,
        num_images: int = 8,
        sheet: bool = True,
        columns: int = 2,
        side: int = 160,
    ) -> None:
        if min(interval, num_images, columns) < 1 or side < 96:
            raise GLSimError(
                'SelectionPanelHook: interval, num_images and columns must be 1 or more and side 96 or more, '
                f'got {interval}, {num_images}, {columns} and {side}'
            )
        self.enable, self.interval, self.num_images = enable, interval, num_images
        self.sheet, self.columns, self.side = sheet, columns, side

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Draw and log the panels if they are due."""
        step, last = _progress(runner)
        if not self.enable or not is_main_process() or (step % self.interval and step != last):
            return
        with undisturbed(unwrap_model(runner.model)) as model:
            panels = {index: draw_panel(prediction, self.side) for index, prediction in self._predict(runner, model)}
        if not panels:
            return
        if self.sheet:
            sheet = contact_sheet(list(panels.values()), self.columns)
            runner.visualizer.add_image('selection_panels', sheet, step)
            return
        for index, panel in panels.items():
            runner.visualizer.add_image(f'selection_panel_{index:05d}', panel, step)

    def _predict(self, runner: Runner, model: nn.Module) -> Iterator[tuple[int, Prediction]]:
        """Predictions on images spread over the validation set; those that cannot be read are left out."""
        dataset = runner.val_dataloader.dataset
        classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
        for index in np.linspace(0, len(dataset) - 1, min(self.num_images, len(dataset))).round().astype(int).tolist():
            packed = dataset[index]
            if packed is not None:
                sample = model.test_step(pseudo_collate([packed]))[0]
                yield index, prediction_from_sample(packed['inputs'], sample, classes)


def _progress(runner: Runner) -> tuple[int, int]:
    """Epochs (or iterations of an iteration-based loop) done and in total; (0, 0) without training."""
    loop = runner._train_loop  # the public attribute would build a loop where there is none yet
    if not isinstance(loop, BaseLoop):
        return 0, 0
    return (loop.iter, loop.max_iters) if isinstance(loop, IterBasedTrainLoop) else (loop.epoch, loop.max_epochs)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[nn.Module]:
    """Evaluate a model without gradients; leave the modes of its modules and all random generators as they were."""
    modes = {module: module.training for module in model.modules()}
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(), torch.no_grad():
            model.eval()
            yield model
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        for module, training in modes.items():
            module.training = training
