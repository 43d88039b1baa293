"""Shapes as signed distances, painted with smooth edges.

numpy alone, in float64: drawing functions of imaging libraries give other pixels from one release to the next.
Distances are negative inside. Points are arrays ``x``, ``y`` of one shape, in units of the image's side.
"""

import colorsys
from collections.abc import Sequence

import numpy as np


class Dice:
    """Random numbers that depend on the seeds only, not on numpy's version."""

    def __init__(self, *seeds: int) -> None:
        self._bits = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seeds)))

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self._bits.random()

    def below(self, count: int) -> int:
        """An integer in [0, count)."""
        return int(self._bits.random() * count)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self._bits.random() < probability)

    def noise(self, shape: tuple[int, ...]) -> np.ndarray:
        """Independent numbers in [-0.5, 0.5)."""
        return self._bits.random(shape) - 0.5


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """A colour as RGB (3,) in 0..1."""
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value))


def paint(canvas: np.ndarray, distance: np.ndarray, color: np.ndarray, opacity: float | np.ndarray = 1.0) -> None:
    """Colour the inside of a shape, in place.

    Args:
        canvas: (S, S, 3), RGB in 0..1.
        distance: (S, S).
        color: (3,) or (S, S, 3).
        opacity: 0..1, one or (S, S).
    """
    coverage = np.clip(0.5 - distance * len(canvas), 0, 1) * opacity
    canvas += coverage[..., None] * (color - canvas)


def disc(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Distance to a disc about the origin."""
    return np.sqrt(x * x + y * y) - radius


def ellipse(x: np.ndarray, y: np.ndarray, a: float, b: float) -> np.ndarray:
    """Distance, nearly, to an ellipse about the origin with half axes ``a`` and ``b``."""
    level = np.sqrt((x / a) ** 2 + (y / b) ** 2)
    slope = np.sqrt((x / a**2) ** 2 + (y / b**2) ** 2)
    return level * (level - 1) / np.maximum(slope, 1e-9)


def stick(x: np.ndarray, y: np.ndarray, start: Sequence[float], end: Sequence[float], radius: float) -> np.ndarray:
    """Distance to a line with round ends."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = np.clip(((x - start[0]) * dx + (y - start[1]) * dy) / max(dx * dx + dy * dy, 1e-12), 0, 1)
    return disc(x - start[0] - along * dx, y - start[1] - along * dy, radius)


def polygon(x: np.ndarray, y: np.ndarray, *corners: Sequence[float]) -> np.ndarray:
    """Distance, nearly, to a convex polygon."""
    sides = list(zip(corners, corners[1:] + corners[:1]))
    turn = np.sign(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in sides))  # corners may run either way round
    edges = []
    for (x0, y0), (x1, y1) in sides:
        length = max(((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5, 1e-12)
        edges.append(turn * ((x - x0) * (y1 - y0) - (y - y0) * (x1 - x0)) / length)
    return np.maximum.reduce(edges)


def outline(distance: np.ndarray, width: float) -> np.ndarray:
    """Distance to the rim of a shape."""
    return np.abs(distance) - width / 2


def union(*distances: np.ndarray) -> np.ndarray:
    """Distance to what lies in any of the shapes."""
    return np.minimum.reduce(distances)
