"""What is drawn of one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # pages of search results are drawn without torch too
    from torch import Tensor

Box = Sequence[float] | np.ndarray


@dataclass
class Prediction:
    """What is drawn of one image. Boxes are ``x0, y0, x1, y1`` in pixels of :attr:`image`.

    Attributes:
        image: Network input before normalisation, (H, W, 3) uint8 RGB.
        predicted: Name of the predicted class.
        score: Its probability, 0..1.
        truth: Name of the true class, if known.
        selected_box: Where the model took its crop. Defaults to None, for models without.
        similarity_map: (h, w) scores of the patches, the larger the likelier selected.
        annotated_box: Where the object is.
        top: Names and probabilities of the likeliest classes, likeliest first.
        selected_boxes: All boxes, (R, 4), of a model with several crops.
        path: Of the image file, for captions and file names.
    """

    image: np.ndarray
    predicted: str
    score: float
    truth: str | None = None
    selected_box: Box | None = None
    similarity_map: np.ndarray | None = None
    annotated_box: Box | None = None
    top: Sequence[tuple[str, float]] = ()
    selected_boxes: Sequence[Box] | np.ndarray | None = None
    path: str | None = None

    @property
    def is_right(self) -> bool | None:
        """Whether predicted and true class agree, None where the true class is unknown."""
        return None if self.truth is None else self.truth == self.predicted

    @property
    def boxes(self) -> list[Box]:
        """Every selected box: none, one or several."""
        if self.selected_boxes is not None:
            return list(self.selected_boxes)
        return [] if self.selected_box is None else [self.selected_box]


def to_rgb_image(inputs: Tensor) -> np.ndarray:
    """Network input before the data preprocessor as an image.

    Args:
        inputs: (3, H, W) BGR as OpenMMLab's pipelines pack it, values 0..255.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    return np.ascontiguousarray(inputs.flip(0).permute(1, 2, 0).cpu().numpy().astype(np.uint8))
