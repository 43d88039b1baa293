"""What makes network inputs of photos."""

from typing import Protocol

import numpy as np
from torch import Tensor


class Preparation(Protocol):
    """A test pipeline."""

    def __call__(self, pixels: np.ndarray) -> Tensor:
        """Network input (3, h, w), not normalised yet, of a photo (H, W, 3) uint8 BGR."""

    def to_photo(self, shape: tuple[int, int]) -> np.ndarray | None:
        """(2, 3) map from pixels of the network input to pixels of a photo of (height, width) ``shape``, if known."""
