"""How well a region selector finds annotated objects, as a metric of validation and test loops."""

from collections.abc import Sequence

import torch
from mmengine.evaluator import BaseMetric
from mmpretrain.registry import METRICS
from torch import Tensor

from ..errors import GLSimError
from ..ops import box_overlap, clip_boxes, energy_inside, patch_shares, pointing_hit

MEASURES = ('energy_inside', 'pointing', 'box_inside', 'box_covered', 'iou', 'area')


def selection_quality(
    scores: Tensor,
    selected: Tensor,
    annotated: Tensor,
    grid: tuple[int, int],
    patch_size: tuple[int, int],
    image_size: tuple[int, int],
) -> Tensor:
    """All measures of a batch, float32 (B, 6) in [0, 1], in the order of :data:`MEASURES`.

    They are the share of the map's energy inside the annotated box, pointing game, share of the selected box inside,
    share of the annotated box covered, IoU, and share of the image that the annotated box covers, which is what a blind
    guess scores inside.

    Args:
        scores: (B, N), scores of patches, larger is selected.
        selected: (B, 4), selected boxes, ``x0, y0, x1, y1`` in pixels of the network input.
        annotated: (B, 4), annotated boxes; cut off at the border of the image.
        grid: Rows and columns of patches.
        patch_size: Patch height and width in pixels.
        image_size: Image height and width in pixels.
    """
    annotated = clip_boxes(annotated, image_size)
    inside, covered, iou = box_overlap(selected, annotated)
    area = (annotated[:, 2:] - annotated[:, :2]).clamp(min=0).prod(dim=1) / (image_size[0] * image_size[1])
    energy = energy_inside(scores, patch_shares(annotated, grid, patch_size))
    pointing = pointing_hit(scores, annotated, grid, patch_size)
    return torch.stack([energy, pointing, inside, covered, iou, area], dim=1)


@METRICS.register_module()
class SelectionQuality(BaseMetric):
    """Energy inside the annotated box, pointing accuracy and overlap of the selected box; :func:`selection_quality`.

    Reports ``selection/energy_inside``, ``pointing``, ``box_inside``, ``box_covered``, ``iou`` and ``area``, per cent,
    mean over the images that have a box; of several annotated boxes the box around them counts. The pipeline hands
    boxes on with ``dict(type='PackInputs', algorithm_keys=('gt_bboxes',))``.

    Example::

        test_evaluator = [dict(type='Accuracy'), dict(type='SelectionQuality')]
    """

    default_prefix = 'selection'

    def process(self, data_batch: Sequence[dict] | None, data_samples: Sequence[dict]) -> None:
        """Measure each image, an output of :class:`GLSimClassifier` with ``gt_bboxes`` (n, 4)."""
        for sample in data_samples:
            if 'selected_box' not in sample:
                raise GLSimError('SelectionQuality needs a model that selects regions; take it out of val_evaluator.')
            if 'gt_bboxes' not in sample:
                raise GLSimError(
                    "SelectionQuality needs annotated boxes: set algorithm_keys=('gt_bboxes',) of PackInputs in the "
                    'pipeline of a data set with boxes, or take it out of val_evaluator.'
                )
            boxes = torch.as_tensor(sample['gt_bboxes'], dtype=torch.float32).reshape(-1, 4)
            if len(boxes):
                self.results.append(self._measure(sample, boxes))

    def compute_metrics(self, results: list[list[float]]) -> dict[str, float]:
        """Means over all images that have a box, per cent by name."""
        if not results:
            raise GLSimError('SelectionQuality: no image has an annotated box; take it out of val_evaluator.')
        means = torch.tensor(results, dtype=torch.float64).mean(dim=0) * 100
        return dict(zip(MEASURES, means.tolist()))

    @staticmethod
    def _measure(sample: dict, boxes: Tensor) -> list[float]:
        enclosing = torch.cat([boxes[:, :2].amin(dim=0), boxes[:, 2:].amax(dim=0)])
        scores = sample['similarity_map'].cpu()
        frame = tuple(scores.shape), sample['patch_size'], tuple(sample['img_shape'][:2])
        selected = sample['selected_box'].cpu()[None]
        return selection_quality(scores.flatten()[None], selected, enclosing[None], *frame)[0].tolist()
