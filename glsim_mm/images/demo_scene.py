"""Pictures of the demo data set: a fish with a mark on its flank among weed, pebbles and bubbles.

Everything but the mark is drawn from the seeds alone, so that nothing else can tell the class. Shapes are signed
distances, negative inside, that are painted with smooth edges; points are arrays ``x``, ``y`` of one shape, in units of
the image's side. All is float64 in numpy: drawing functions of imaging libraries give other pixels from one release to
the next.
"""

import colorsys
from collections.abc import Callable, Sequence
from typing import NamedTuple

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

    def noise(self, shape: tuple[int, ...]) -> np.ndarray:
        """Independent numbers in [-0.5, 0.5)."""
        return self._bits.random(shape) - 0.5


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """A colour as RGB (3,) in 0..1."""
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value))


def paint(canvas: np.ndarray, distance: np.ndarray, color: np.ndarray, opacity: float | np.ndarray = 1.0) -> None:
    """Colour the inside of a shape on a canvas (S, S, 3) in place; all colours are RGB in 0..1."""
    coverage = np.clip(0.5 - distance * len(canvas), 0, 1) * opacity
    canvas += coverage[..., None] * (color - canvas)


def disc(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Distance to a disc about the origin."""
    return np.sqrt(x * x + y * y) - radius


def ellipse(x: np.ndarray, y: np.ndarray, a: float, b: float) -> np.ndarray:
    """Approximate distance to an ellipse about the origin with half axes ``a`` and ``b``."""
    level = np.sqrt((x / a) ** 2 + (y / b) ** 2)
    slope = np.sqrt((x / a**2) ** 2 + (y / b**2) ** 2)
    return level * (level - 1) / np.maximum(slope, 1e-9)


def stick(x: np.ndarray, y: np.ndarray, start: Sequence[float], end: Sequence[float], radius: float) -> np.ndarray:
    """Distance to a line with round ends."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = np.clip(((x - start[0]) * dx + (y - start[1]) * dy) / max(dx * dx + dy * dy, 1e-12), 0, 1)
    return disc(x - start[0] - along * dx, y - start[1] - along * dy, radius)


def polygon(x: np.ndarray, y: np.ndarray, *corners: Sequence[float]) -> np.ndarray:
    """Approximate distance to a convex polygon."""
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
    """Distance to the union of shapes."""
    return np.minimum.reduce(distances)


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


class Scene(NamedTuple):
    """A rendered picture, (S, S, 3) uint8 RGB, and where things are in it, in pixels."""

    image: np.ndarray
    box: tuple[int, int, int, int]  # x, y, width, height of the fish
    mark: tuple[float, float, float]  # x, y, radius of the disc that holds the mark


class _Fish(NamedTuple):
    """Place and shape of a fish in units of the image's side; ``length`` is from the nose to the root of the tail."""

    center: tuple[float, float]
    length: float
    height: float
    angle: float
    mirrored: bool
    bend: float
    mark_at: tuple[float, float]
    mark_radius: float

    def local(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points as the fish sees them: x to the head, y to the belly."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        dx, dy = x - self.center[0], y - self.center[1]
        along, across = cos * dx + sin * dy, cos * dy - sin * dx
        along = -along if self.mirrored else along
        return along, across - self.bend * along**2 / self.length

    def mark_in_image(self) -> tuple[float, float]:
        """Centre of the mark in the image."""
        along, across = self.mark_at
        across += self.bend * along**2 / self.length
        along = -along if self.mirrored else along
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return self.center[0] + cos * along - sin * across, self.center[1] + sin * along + cos * across


def render_scene(mark: Mark, size: int, *seeds: int) -> Scene:
    """Render a picture of ``size`` pixels, at least 16; non-negative seeds fix all but the mark."""
    dice = Dice(*seeds)
    centers = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid(centers, centers)
    fish = _throw_fish(dice)
    canvas = _water(dice, x, y)
    _clutter(canvas, dice, x, y)
    silhouette = _draw_fish(canvas, dice, fish, mark, x, y)
    _weed_in_front(canvas, dice, fish, x, y)
    canvas *= 1 - 0.25 * disc(x - 0.5, y - 0.5, 0)[..., None] ** 2
    canvas += 0.03 * dice.noise(canvas.shape)
    rows, cols = np.nonzero(silhouette < 0)
    box = (int(cols.min()), int(rows.min()), int(np.ptp(cols)) + 1, int(np.ptp(rows)) + 1)
    mark_x, mark_y, radius = (value * size for value in (*fish.mark_in_image(), fish.mark_radius))
    return Scene(np.round(np.clip(canvas, 0, 1) * 255).astype(np.uint8), box, (mark_x, mark_y, radius))


def _throw_fish(dice: Dice) -> _Fish:
    length = dice.uniform(0.45, 0.7)
    height = length * dice.uniform(0.48, 0.6)
    reach = 0.62 * length
    return _Fish(
        center=(dice.uniform(min(reach, 0.45), max(1 - reach, 0.55)), dice.uniform(0.3, 0.7)),
        length=length,
        height=height,
        angle=dice.uniform(-0.45, 0.45),
        mirrored=dice.below(2) == 0,
        bend=dice.uniform(-0.25, 0.25),
        mark_at=(length * dice.uniform(-0.14, 0.08), height * dice.uniform(-0.1, 0.06)),
        mark_radius=length * dice.uniform(0.17, 0.2),
    )


def _water(dice: Dice, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Paint water: one colour fading into another from top to bottom, with soft light."""
    hue = dice.uniform(0.3, 0.75)
    top = hsv(hue, dice.uniform(0.25, 0.6), dice.uniform(0.55, 0.85))
    bottom = hsv(hue + dice.uniform(-0.12, 0.12), dice.uniform(0.35, 0.7), dice.uniform(0.2, 0.5))
    light = np.zeros_like(x)
    for _ in range(3):
        fx, fy = dice.uniform(-9, 9), dice.uniform(-5, 5)
        light += np.sin(fx * x + fy * y + dice.uniform(0, 6.28))
    return top + y[..., None] * (bottom - top) + 0.035 * light[..., None]


def _clutter(canvas: np.ndarray, dice: Dice, x: np.ndarray, y: np.ndarray) -> None:
    """Paint weed, pebbles on the ground and bubbles, which vary in number, place, size and colour."""
    for _ in range(3 + dice.below(4)):
        color = hsv(dice.uniform(0, 1), dice.uniform(0.3, 0.75), dice.uniform(0.3, 0.75))
        _paint_frond(canvas, _throw_frond(dice), color, x, y)
    for _ in range(4 + dice.below(5)):
        a, b = dice.uniform(0.04, 0.13), dice.uniform(0.03, 0.08)
        center = dice.uniform(0, 1), dice.uniform(0.86, 1.02)
        color = hsv(dice.uniform(0, 1), dice.uniform(0.05, 0.35), dice.uniform(0.35, 0.75))
        columns = _columns(x, center[0] - a, center[0] + a)
        px, py = x[:, columns] - center[0], y[:, columns] - center[1]
        shade = 1 - 0.6 * np.clip(py / b, -0.6, 1)
        paint(canvas[:, columns], ellipse(px, py, a, b), color * shade[..., None])
    for _ in range(2 + dice.below(5)):
        radius = dice.uniform(0.012, 0.035)
        center = dice.uniform(0, 1), dice.uniform(0, 0.8)
        columns = _columns(x, center[0] - radius, center[0] + radius)
        bubble = disc(x[:, columns] - center[0], y[:, columns] - center[1], radius)
        paint(canvas[:, columns], bubble, np.ones(3), 0.18)
        paint(canvas[:, columns], outline(bubble, 0.008), np.ones(3), 0.55)


def _columns(x: np.ndarray, left: float, right: float) -> slice:
    """Columns of pixels that a shape between two x can touch; drawing only these saves time."""
    size = x.shape[1]
    return slice(max(int((left - 0.01) * size) - 2, 0), max(int((right + 0.01) * size) + 3, 0))


def _throw_frond(dice: Dice) -> list[tuple[float, float]]:
    """Joints of a stalk of weed, from the ground up."""
    joint = dice.uniform(0, 1), 1.05
    lean, sway, pace = dice.uniform(-0.06, 0.06), dice.uniform(0.02, 0.06), dice.uniform(0.6, 1.4)
    step, phase = dice.uniform(0.07, 0.15), dice.uniform(0, 6.28)
    joints = [joint]
    for index in range(6):
        joint = joint[0] + lean + sway * np.sin(phase + pace * index), joint[1] - step
        joints.append(joint)
    return joints


def _frond(joints: list[tuple[float, float]], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    widths = np.linspace(0.03, 0.008, len(joints) - 1)
    return union(*(stick(x, y, start, end, width) for start, end, width in zip(joints, joints[1:], widths)))


def _paint_frond(
    canvas: np.ndarray, joints: list[tuple[float, float]], color: np.ndarray, x: np.ndarray, y: np.ndarray
) -> None:
    across = [joint[0] for joint in joints]
    columns = _columns(x, min(across) - 0.03, max(across) + 0.03)
    distance = _frond(joints, x[:, columns], y[:, columns])
    paint(canvas[:, columns], distance, 0.7 * color)
    paint(canvas[:, columns], distance + 0.009, color)


def _weed_in_front(canvas: np.ndarray, dice: Dice, fish: _Fish, x: np.ndarray, y: np.ndarray) -> None:
    """Paint stalks across the fish, but not across its mark, which tells the class."""
    mark_x, mark_y = (np.array([value]) for value in fish.mark_in_image())
    for _ in range(2):
        joints = _throw_frond(dice)
        color = hsv(dice.uniform(0.2, 0.5), dice.uniform(0.4, 0.7), dice.uniform(0.25, 0.5))
        if _frond(joints, mark_x, mark_y)[0] > fish.mark_radius + 0.02:
            _paint_frond(canvas, joints, color, x, y)


def _draw_fish(canvas: np.ndarray, dice: Dice, fish: _Fish, mark: Mark, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Paint the fish and return its silhouette as a distance (S, S)."""
    u, v = fish.local(x, y)
    a, b = fish.length / 2, fish.height / 2
    hue = dice.uniform(0, 1)
    skin = hsv(hue, dice.uniform(0.35, 0.75), dice.uniform(0.35, 0.6))
    fin_color = hsv(hue + dice.uniform(-0.15, 0.15), dice.uniform(0.5, 0.8), dice.uniform(0.35, 0.75))
    ink = hsv(dice.uniform(0, 1), dice.uniform(0, 0.15), 1.0)

    body = ellipse(u, v, a, b)
    fins = _fins(dice, u, v, a, b)
    paint(canvas, fins, fin_color)
    paint(canvas, np.maximum(fins, outline(np.sin(55 * (v + 0.4 * u)), 0.5) / 55), 0.8 * fin_color)
    shade = 1 - 0.16 * np.clip(v / b, -1, 1) - 0.12 * np.clip(body / b + 0.3, 0, 0.3)
    for _ in range(2):  # a faint pattern of scales
        frequency, direction, phase = dice.uniform(25, 60), dice.uniform(0, 3.14), dice.uniform(0, 6.28)
        wave = np.sin(frequency * (np.cos(direction) * u + np.sin(direction) * v) + phase)
        shade = shade + 0.035 * wave
    paint(canvas, body, skin * shade[..., None])
    paint(canvas, np.maximum(body, outline(disc(u - 1.02 * a, v, 0.52 * a), 0.012)), 0.6 * skin)
    eye_u, eye_v, radius = u - 0.74 * a, v + 0.22 * b, 0.17 * b + 0.006
    paint(canvas, disc(eye_u, eye_v, radius), np.full(3, 0.95))
    paint(canvas, disc(eye_u - 0.1 * radius, eye_v, 0.6 * radius), np.full(3, 0.05))
    mark_u, mark_v = (u - fish.mark_at[0]) / fish.mark_radius, (v - fish.mark_at[1]) / fish.mark_radius
    paint(canvas, mark(mark_u, mark_v) * fish.mark_radius, ink)
    return union(body, fins)


def _fins(dice: Dice, u: np.ndarray, v: np.ndarray, a: float, b: float) -> np.ndarray:
    spread, tail = b * dice.uniform(0.75, 1.1), a * dice.uniform(0.4, 0.55)
    upper = polygon(u, v, (-0.8 * a, 0.15 * b), (-a - tail, -spread), (-a - 0.5 * tail, 0.0))
    lower = polygon(u, v, (-0.8 * a, -0.15 * b), (-a - tail, spread), (-a - 0.5 * tail, 0.0))
    crest = b * dice.uniform(1.25, 1.6)
    dorsal = polygon(u, v, (0.35 * a, -0.7 * b), (-0.5 * a, -0.6 * b), (-0.45 * a, -crest))
    anal = polygon(u, v, (0.0, 0.8 * b), (-0.5 * a, b * dice.uniform(1.2, 1.45)), (-0.55 * a, 0.6 * b))
    return union(upper, lower, dorsal, anal)
