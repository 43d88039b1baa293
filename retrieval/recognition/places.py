"""Where and when photos were taken: places, months, and the cells into which counts divide the earth."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, NamedTuple, Protocol

from ..errors import RetrievalError

PLACE_COLUMNS = ('latitude', 'longitude', 'taken')
"""Columns that say where and when a photo was taken, as ``glsim build --exif`` fills them."""

_DATE = re.compile(r'(\d{4})-(\d{1,2})(?:-(\d{1,2})(?:[T ].*)?)?')
_DEGREES = re.compile(r'(-?\d+(?:\.\d+)?)_(-?\d+(?:\.\d+)?)_(\d+(?:\.\d+)?)')
_H3 = re.compile(r'[0-9a-f]{15}')
_NEARLY = 1e-6  # of a cell, by which decimal fractions may be off


class Taken(NamedTuple):
    """Where and when a photo was taken, as far as that is known.

    Example:
        >>> Taken.read(28.2, -177.4, '2024-05-01')
        Taken(latitude=28.2, longitude=-177.4, month=5)

    Attributes:
        latitude, longitude: Degrees, positive in the north and east; both None if the place is not known.
        month: 1 to 12; None if the date is not known.
    """

    latitude: float | None = None
    longitude: float | None = None
    month: int | None = None

    @classmethod
    def read(cls, latitude: Any = None, longitude: Any = None, taken: Any = None) -> Taken:
        """From numbers and dates, or texts of them: ``2024-05-01``, with or without a time, or ``2024-05``.

        Raises:
            RetrievalError: For a place that is not on the earth, half a place, and what is no date.
        """
        if (latitude is None) != (longitude is None):
            raise RetrievalError('a place is a latitude and a longitude: one of them is missing')
        place = (_degrees(latitude, 'latitude', 90), _degrees(longitude, 'longitude', 180))
        return cls(*place, _month(taken))

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> tuple[Taken, list[str]]:
        """From the columns ``latitude``, ``longitude`` and ``taken``, whatever the case of their names.

        Empty texts are no values. What is impossible is left out, and told in words.
        """
        values = {name.lower(): None if value == '' else value for name, value in metadata.items()}
        latitude, longitude, taken = (values.get(name) for name in PLACE_COLUMNS)
        found, wrong = [], []
        for given in ((latitude, longitude, None), (None, None, taken)):
            try:
                found.append(cls.read(*given))
            except RetrievalError as error:
                found.append(cls())
                wrong.append(str(error))
        return found[0]._replace(month=found[1].month), wrong


def _degrees(value: Any, name: str, limit: int) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not abs(number) <= limit:  # NaN is neither
        raise RetrievalError(f'{name} {value} is not a number from -{limit} to {limit}')
    return number


def _month(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, date):
        return value.month
    parts = _DATE.fullmatch(str(value).strip())
    try:
        if parts is None:
            raise ValueError(value)
        return date(*(int(part or 1) for part in parts.groups())).month
    except ValueError as error:
        raise RetrievalError(f'{value} is no date: write it as 2024-05-01 or 2024-05') from error


class Grid(Protocol):
    """How the earth is divided into cells."""

    def cell(self, latitude: float, longitude: float) -> str:
        """Name of the cell in which a place is."""


class DegreeGrid:
    """Cells between meridians and parallels, called by their south-western corner and their side in degrees.

    ``47.5_-122.5_0.5`` reaches from 47.5 to 48 degrees north, and from 122.5 to 122 degrees west.

    Example:
        >>> DegreeGrid(1).cell(47.61, -122.33)
        '47_-123_1'

    Args:
        size: Side of a cell, from 0.001 to 90 degrees; a part of 90, as 0.25, 0.5, 1, 2 or 5.

    Raises:
        RetrievalError: For another side.
    """

    def __init__(self, size: float) -> None:
        if not 0.001 <= size <= 90 or abs(90 / size - round(90 / size)) > _NEARLY:
            raise RetrievalError(
                f'the side of a cell must be a part of 90 degrees, as 0.25, 0.5, 1, 2 or 5, not {size:g}'
            )
        self.size = size

    def cell(self, latitude: float, longitude: float) -> str:
        """Name of the cell in which a place is; a pole belongs to the cell beside it."""
        row = min(math.floor(latitude / self.size + _NEARLY), round(90 / self.size) - 1)
        column = math.floor(((longitude + 180) % 360 - 180) / self.size + _NEARLY)
        return '_'.join(f'{round(one, 6):.10g}' for one in (row * self.size, column * self.size, self.size))


class H3Grid:
    """Hexagons of H3, https://h3geo.org, whose package is optional.

    Example:
        >>> H3Grid(4).cell(47.61, -122.33)
        '8428d55ffffffff'

    Args:
        resolution: 0 to 15; hexagons of 4 have an edge of 26 km, those of 5 of 10 km.

    Raises:
        RetrievalError: If the package ``h3`` is missing, or for another resolution.
    """

    def __init__(self, resolution: int) -> None:
        self._h3, self.resolution = _import_h3(), resolution
        if not 0 <= resolution <= 15:
            raise RetrievalError(f'the resolution of H3 is from 0 to 15, not {resolution}')

    def cell(self, latitude: float, longitude: float) -> str:
        """Name of the hexagon in which a place is."""
        return self._h3.latlng_to_cell(latitude, longitude, self.resolution)


def _import_h3() -> Any:
    try:
        import h3
    except ImportError as missing:
        raise RetrievalError(
            'cells of H3 need the package h3: pip install "h3>=4", or use cells in degrees'
        ) from missing
    return h3


def read_grid(cells: Iterable[str]) -> tuple[Grid, list[str]]:
    """The grid that cells are of, and their names as the grid writes them.

    Raises:
        RetrievalError: If one is no cell, or they are of several grids.
    """
    grid: Grid | None = None
    names = []
    for cell in cells:
        found, name = _read_cell(cell)
        if grid is not None and vars(found) != vars(grid):
            raise RetrievalError(f'cell {cell} is not of the same grid as the cells before it: use one size of cells')
        grid = grid or found
        names.append(name)
    if grid is None:
        raise RetrievalError('there is no cell')
    return grid, names


def _read_cell(cell: str) -> tuple[Grid, str]:
    """The grid of a cell, and the cell's name in it."""
    parts = _DEGREES.fullmatch(cell)
    if parts:
        south, west, size = map(float, parts.groups())
        grid = DegreeGrid(size)
        name = grid.cell(south, west)
        corner = [float(part) for part in name.split('_')]
        if not (abs(south) <= 90 and abs(west) <= 180) or max(abs(corner[0] - south), abs(corner[1] - west)) > _NEARLY:
            raise RetrievalError(f'cell {cell} does not begin at a south-western corner of a grid of {size:g} degrees')
        return grid, name
    if _H3.fullmatch(cell.lower()):
        h3 = _import_h3()
        if h3.is_valid_cell(cell.lower()):
            return H3Grid(h3.get_resolution(cell.lower())), cell.lower()
    raise RetrievalError(
        f'{cell!r} is no cell: write its south-western corner and its side in degrees, as 47.5_-122.5_0.5, or its name '
        'in H3'
    )
