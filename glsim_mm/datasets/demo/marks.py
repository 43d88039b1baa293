"""The marks that tell the classes apart: shapes within the unit disc, all of about the same area of paint."""

from collections.abc import Callable

import numpy as np

from .drawing import disc, ellipse, outline, stick, union

Mark = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _spots(*centers: tuple[float, float], radius: float) -> Mark:
    return lambda x, y: union(*(disc(x - cx, y - cy, radius) for cx, cy in centers))


def _bars(*bars: tuple[float, float, float, float], radius: float) -> Mark:
    return lambda x, y: union(*(stick(x, y, bar[:2], bar[2:], radius) for bar in bars))


# x runs to the fish's head, y to its belly; distances in units of the mark's radius.
MARKS: dict[str, Mark] = {
    'One_spot': _spots((0, 0), radius=0.62),
    'Two_spots': _spots((-0.52, 0), (0.52, 0), radius=0.42),
    'Ring': lambda x, y: outline(disc(x, y, 0.72), 0.34),
    'One_bar': _bars((0, -0.75, 0, 0.75), radius=0.24),
    'Two_bars': _bars((-0.42, -0.7, -0.42, 0.7), (0.42, -0.7, 0.42, 0.7), radius=0.19),
    'Cross': _bars((-0.6, -0.6, 0.6, 0.6), (-0.6, 0.6, 0.6, -0.6), radius=0.2),
    'Chevron': _bars((-0.45, -0.7, 0.5, 0), (0.5, 0, -0.45, 0.7), radius=0.2),
    'Line': _bars((-0.78, 0, 0.78, 0), radius=0.22),
    'Three_spots': _spots((0, -0.55), (-0.5, 0.38), (0.5, 0.38), radius=0.36),
    'Crescent': lambda x, y: np.maximum(disc(x, y, 0.85), -disc(x - 0.42, y, 0.72)),
    'Two_lines': _bars((-0.7, -0.42, 0.7, -0.42), (-0.7, 0.42, 0.7, 0.42), radius=0.19),
    'Spindle': lambda x, y: outline(ellipse(x, y, 0.85, 0.45), 0.28),
}
