"""How clearly a model looked somewhere: figures of a similarity map, and warnings about those of many photos."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_Box = Sequence[float] | np.ndarray
LARGE_SHARE = 0.8
FLAT_CONTRAST = 0.05
_TOLD_SHARE = 0.1  # of the photos; a few of any kind are nobody's mistake


class Strength(NamedTuple):
    """Least and largest score of a similarity map.

    Example:
        >>> print(map_strength(np.array([[0.1, 0.4]])).words)
        0.10 to 0.40, contrast 0.75
    """

    low: float
    high: float

    @property
    def contrast(self) -> float:
        """How much of the score of largest magnitude the range is, 0 to 1, so that it does not depend on units."""
        largest = max(abs(self.low), abs(self.high))
        return min((self.high - self.low) / largest, 1.0) if largest > 0 else 0.0

    @property
    def is_flat(self) -> bool:
        """Whether the patches are so alike that what was selected is chance."""
        return self.contrast < FLAT_CONTRAST

    @property
    def ends(self) -> tuple[str, str]:
        """Both scores, as they are written."""
        return _number(self.low), _number(self.high)

    @property
    def words(self) -> str:
        """The figures, and whether the map is flat."""
        numbers = f'{" to ".join(self.ends)}, contrast {self.contrast:.2f}'
        return f'{numbers} (flat)' if self.is_flat else numbers


def map_strength(scores: np.ndarray) -> Strength:
    """The strength of a map (h, w); scores that are not finite do not count."""
    finite = np.asarray(scores, np.float64)
    finite = finite[np.isfinite(finite)]
    return Strength(float(finite.min()), float(finite.max())) if finite.size else Strength(0.0, 0.0)


class SelectionSummary:
    """Counts photos whose box is nearly the image, and those whose map is flat, and decides what is told of them.

    ::

        summary = SelectionSummary()
        summary.add([48, 32, 160, 144], (0, 0, 224, 224), similarity_map)
        for warning in summary.warnings():
            print(warning)
    """

    def __init__(self) -> None:
        self.photos = self.large = self.flat = 0

    def add(
        self, box: Sequence[float] | np.ndarray, frame: Sequence[float] | np.ndarray, scores: np.ndarray | None
    ) -> None:
        """Count a photo: its box and the frame that it was chosen in, ``x0, y0, x1, y1`` in one unit, and its map."""
        areas = [(one[2] - one[0]) * (one[3] - one[1]) for one in (box, frame)]
        self.photos += 1
        self.large += bool(areas[1] > 0 and areas[0] / areas[1] > LARGE_SHARE)
        self.flat += scores is not None and map_strength(scores).is_flat

    def warnings(self) -> list[str]:
        """What should be told, a sentence each; empty if at most one photo in ten is concerned."""
        told = []
        if self.large > _TOLD_SHARE * self.photos:
            told.append(
                f'the box covers more than {100 * LARGE_SHARE:.0f} % of the image in {self.large} of {self.photos} '
                'photos, so the second look shows little new: lower top_o of the selector'
            )
        if self.flat > _TOLD_SHARE * self.photos:
            told.append(
                f'the similarity map is flat in {self.flat} of {self.photos} photos (contrast below {FLAT_CONTRAST}), '
                'so the box lies where chance put it: train the model longer, or try another selector'
            )
        return told


def _number(value: float) -> str:
    text = f'{value:.2f}' if value == 0 or 0.01 <= abs(value) < 1000 else f'{value:.1e}'
    return text.replace('-', '−')
