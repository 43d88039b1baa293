"""Random crops that keep annotated boxes in step with the image."""

import numpy as np
from mmpretrain.datasets.transforms import RandomCrop
from mmpretrain.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomCropWithBoxes(RandomCrop):
    """mmpretrain's :class:`RandomCrop`, which leaves ``gt_bboxes`` where they were, with the boxes moved and cut off.

    It draws the same random numbers. A box that lies outside the crop becomes empty, at the border of the crop.

    Args:
        crop_size: Height and width in pixels; an image that is smaller is not padded.
    """

    def __init__(self, crop_size: int | tuple[int, int]) -> None:
        super().__init__(crop_size)

    def transform(self, results: dict) -> dict:
        """Crop ``img``, (H, W, 3), and move ``gt_bboxes``, (n, 4) ``x0, y0, x1, y1`` in pixels, if there are any."""
        y, x, height, width = self.rand_crop_params(results['img'])
        results['img'] = results['img'][y : y + height, x : x + width]
        results['img_shape'] = results['img'].shape
        if 'gt_bboxes' in results:
            moved = results['gt_bboxes'] - np.array([x, y, x, y], np.float32)
            results['gt_bboxes'] = np.clip(moved, 0, np.array([width, height, width, height], np.float32))
        return results
