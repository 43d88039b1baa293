"""What a model gives to be searched by."""

from typing import NamedTuple

from torch import Tensor

AGGREGATED, GLOBAL, CROP, CONCAT = 'aggregated', 'global', 'crop', 'concat'


class Features(NamedTuple):
    """What is read off a batch of B images.

    Attributes:
        embeddings: (B, C) of each space, not normalised except for ``'concat'``.
        boxes: (B, 4), the region that was cropped, ``x0, y0, x1, y1`` in pixels of the network input.
        maps: (B, h, w), scores of the patches, the larger the likelier selected.
        patches: (B, O, C), tokens of the selected patches, best first.
        class_scores: (B, K), probabilities of the classes that the model was trained on.
    """

    embeddings: dict[str, Tensor]
    boxes: Tensor | None = None
    maps: Tensor | None = None
    patches: Tensor | None = None
    class_scores: Tensor | None = None
