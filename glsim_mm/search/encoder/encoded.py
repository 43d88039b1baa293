"""What an encoder returns."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from retrieval.gallery.contract import Record


class EncodingError(NamedTuple):
    """An image that could not be encoded.

    Attributes:
        position: Its place among the images, from 0.
        path: Its path; empty for an array.
        reason: Why.
    """

    position: int
    path: str
    reason: str


@dataclass
class Encoded:
    """Embeddings of n images, in their order, and what goes with them.

    Attributes:
        embeddings: float32, (n, C) for each space, as the model gives them: not normalised, except for the parts of
            ``'concat'``.
        records: Path, label, box of the cropped region and the like, n of them.
        positions: int64, (n,), place of each among the images that were given.
        patches: float16, (n, O, C), tokens of the selected patches, best first, if kept.
        errors: Images that are not among the n.
        class_scores: float32, (n, K), probabilities of the model's classes, if asked for.
    """

    embeddings: dict[str, np.ndarray]
    records: list[Record]
    positions: np.ndarray
    patches: np.ndarray | None = None
    errors: list[EncodingError] = field(default_factory=list)
    class_scores: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.records)


def join_encoded(parts: list[Encoded]) -> Encoded:
    """Encoded images one after another.

    Args:
        parts: At least one, of one encoder.

    Returns:
        All of them.
    """
    filled = [part for part in parts if len(part)] or parts[:1]
    patches = [part.patches for part in filled]
    return Encoded(
        {space: np.concatenate([part.embeddings[space] for part in filled]) for space in filled[0].embeddings},
        [record for part in filled for record in part.records],
        np.concatenate([part.positions for part in filled]),
        None if any(part is None for part in patches) else np.concatenate(patches),
        [error for part in parts for error in part.errors],
        None if filled[0].class_scores is None else np.concatenate([part.class_scores for part in filled]),
    )


def sort_encoded(encoded: Encoded) -> Encoded:
    """Encoded images in the order of their positions.

    Args:
        encoded: In any order.

    Returns:
        The same images.
    """
    order = np.argsort(encoded.positions, kind='stable')
    return Encoded(
        {space: array[order] for space, array in encoded.embeddings.items()},
        [encoded.records[place] for place in order],
        encoded.positions[order],
        None if encoded.patches is None else encoded.patches[order],
        sorted(encoded.errors),
        None if encoded.class_scores is None else encoded.class_scores[order],
    )
