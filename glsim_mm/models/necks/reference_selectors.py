"""Selectors that look at nothing, or at the answer: the bounds between which the others lie."""

import torch
from mmpretrain.registry import MODELS
from torch import Tensor

from ...errors import GLSimError
from ...ops import centre_box, patch_shares
from .region_selector import RegionSelector, SelectionInputs


@MODELS.register_module()
class RandomSelector(RegionSelector):
    """Selects patches at random, from torch's generator of the images' device; the lower bound.

    See :class:`RegionSelector` for arguments. Scattered patches span a large box: with O = 8 most of the image. The
    authors' ``anchor_random`` is something else: it draws O patches, with replacement, from the first O of the image,
    so that its box is a strip of the top row, and it runs on GPUs only.

    Example::

        neck=dict(type='RandomSelector', top_o=2)
    """

    def score_patches(self, inputs: SelectionInputs) -> Tensor:
        """Uniform random numbers in [0, 1); see the base class."""
        tokens = inputs.tokens
        return torch.rand(tokens.shape[0], inputs.grid[0] * inputs.grid[1], device=tokens.device)


@MODELS.register_module()
class CenterSelector(RegionSelector):
    """Selects the patches nearest to the centre of the image: what a photographer's habit alone gives.

    See :class:`RegionSelector` for the other arguments.

    Args:
        share: Crop this share, in (0, 1], of the height and width of the image, whatever the scores; None for the box
            that they give.

    Raises:
        ValueError: If ``share`` is out of range, or goes with several regions.

    Example::

        neck=dict(type='CenterSelector', share=0.65)
    """

    def __init__(self, share: float | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        if share is not None and (not 0 < share <= 1 or self.policy.num_boxes > 1):
            raise ValueError(f'share must be above 0 and at most 1, of a single region, got {share}')
        self.share = share

    def known_boxes(self, inputs: SelectionInputs) -> Tensor | None:
        """The box in the middle of the image; see the base class."""
        if self.share is None:
            return None
        box = centre_box(inputs.image_size, self.share)
        like = torch.zeros_like(inputs.tokens[:, :1, 0], dtype=torch.int64)
        # One full each: a tensor made of Python numbers would have to be copied to the device.
        return torch.stack([torch.full_like(like, corner) for corner in box], dim=2)

    def score_patches(self, inputs: SelectionInputs) -> Tensor:
        """Negative distance of each patch's centre to the image's centre, in pixels; see the base class."""
        device = inputs.tokens.device
        (rows, cols), (height, width) = inputs.grid, inputs.layout.patch_size
        y = (torch.arange(rows, device=device) + 0.5) * height - inputs.image_size[0] / 2
        x = (torch.arange(cols, device=device) + 0.5) * width - inputs.image_size[1] / 2
        scores = -torch.hypot(y[:, None], x[None, :]).flatten()
        return scores.expand(inputs.tokens.shape[0], -1)


@MODELS.register_module()
class OracleSelector(RegionSelector):
    """Crops the annotated box: the upper bound of what localisation can give. An empty box stands for the whole image.

    Scores are the share of each patch that lies in the box; of the arguments of :class:`RegionSelector`, only those
    that fit a box act: ``margin``, ``aspect``, ``min_share`` and ``max_share``. Boxes come from the data samples'
    ``gt_bboxes``; random crops that move them are :class:`glsim_mm.datasets.RandomCropWithBoxes`.

    Example::

        neck=dict(type='OracleSelector')
        dict(type='PackInputs', algorithm_keys=('gt_bboxes',))  # the last step of the pipeline
    """

    needs_boxes = True

    def score_patches(self, inputs: SelectionInputs) -> Tensor:
        """Share of each patch inside the annotated box, in [0, 1]; see the base class."""
        return patch_shares(self._boxes(inputs), inputs.grid, inputs.layout.patch_size)

    def known_boxes(self, inputs: SelectionInputs) -> Tensor:
        """The annotated box in whole pixels within the image, at least one; see the base class."""
        x0, y0, x1, y1 = self._boxes(inputs).unbind(dim=1)
        height, width = inputs.image_size
        is_empty = (x1 <= x0) | (y1 <= y0)
        (x0, x1), (y0, y1) = _whole_pixels(x0, x1, width, is_empty), _whole_pixels(y0, y1, height, is_empty)
        box = torch.stack([x0, y0, x1, y1], dim=1)[:, None]
        return box.expand(-1, self.policy.num_boxes, -1)

    def _boxes(self, inputs: SelectionInputs) -> Tensor:
        if inputs.boxes is None:
            raise GLSimError(
                'OracleSelector needs annotated boxes: use a data set with boxes and PackInputs with algorithm_keys='
                "('gt_bboxes',) in its pipeline."
            )
        return inputs.boxes.float()


def _whole_pixels(start: Tensor, end: Tensor, extent: int, is_empty: Tensor) -> tuple[Tensor, Tensor]:
    """First and end pixel along one axis, int64 (B,), within the image and not empty."""
    first = start.floor().long().clamp(min=0, max=extent - 1)
    end = end.ceil().long().clamp(max=extent).maximum(first + 1)
    return first.masked_fill(is_empty, 0), end.masked_fill(is_empty, extent)
