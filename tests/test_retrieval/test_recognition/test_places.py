"""Places and dates as people and cameras write them, and the cells into which counts divide the earth."""

import builtins
from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import RetrievalError
from retrieval.recognition import DegreeGrid, H3Grid, Taken
from retrieval.recognition.places import read_grid

LATITUDES, LONGITUDES = st.floats(-90, 90), st.floats(-180, 180)


@pytest.mark.parametrize(
    'given, month',
    [
        ('2024-05-01', 5),
        ('2024-05', 5),
        ('2024-5-1', 5),
        ('2024-12-31T23:59:59', 12),
        ('2024-02-29 10:00', 2),
        (date(2024, 7, 1), 7),
        (datetime(1999, 1, 2, 3), 1),
        (None, None),
    ],
)
def test_dates(given, month):
    assert Taken.read(taken=given).month == month


@pytest.mark.parametrize(
    'given, message',
    [
        (dict(latitude=91, longitude=0), 'latitude 91 is not a number from -90 to 90'),
        (dict(latitude='north', longitude=0), 'latitude north is not a number'),
        (dict(latitude=float('nan'), longitude=0), 'latitude nan'),
        (dict(latitude=0, longitude=float('inf')), 'longitude inf'),
        (dict(latitude=0, longitude=-180.1), 'longitude -180.1 is not a number from -180 to 180'),
        (dict(latitude=10), 'one of them is missing'),
        (dict(taken='2023-02-29'), '2023-02-29 is no date: write it as'),
        (dict(taken='2023-13'), 'no date'),
        (dict(taken='yesterday'), 'no date'),
        (dict(taken=2024), 'no date'),
        (dict(taken='0000-01-01'), 'no date'),
    ],
)
def test_impossible_places_and_dates(given, message):
    with pytest.raises(RetrievalError, match=message):
        Taken.read(**given)


def test_columns_of_which_some_are_wrong():
    found, wrong = Taken.of({'Latitude': '48.1', 'longitude': 11, 'TAKEN': '2024-31-01', 'camera': 'X'})
    assert found == Taken(48.1, 11.0, None) and wrong == [
        '2024-31-01 is no date: write it as 2024-05-01 or 2024-05',
    ]
    found, wrong = Taken.of({'latitude': 99, 'longitude': 11, 'taken': '2024-01-31'})
    assert found == Taken(None, None, 1) and len(wrong) == 1
    assert Taken.of({'latitude': '', 'longitude': None}) == (Taken(), [])


@given(LATITUDES, LONGITUDES, st.sampled_from([0.001, 0.25, 0.1, 0.5, 1, 2.5, 5, 30, 90]))
def test_a_cell_in_degrees_holds_its_places(latitude, longitude, size):
    name = DegreeGrid(size).cell(latitude, longitude)
    south, west, side = map(float, name.split('_'))
    assert side == size and -90 <= south <= 90 - size + 1e-6 and -180 <= west <= 180 - size + 1e-6
    east = longitude if longitude < 180 else -180
    assert south - 1e-5 <= latitude <= south + size + 1e-5 and west - 1e-5 <= east <= west + size + 1e-5
    grid, names = read_grid([name])
    assert names == [name] and grid.cell(latitude, longitude) == name


def test_cells_are_read_however_they_are_written():
    grid, names = read_grid(['47.50_-122.5_0.5', '47_-122.0_0.50'])
    assert names == ['47.5_-122.5_0.5', '47_-122_0.5'] and grid.cell(47.61, -122.33) == names[0]


@pytest.mark.parametrize(
    'cells, message',
    [
        (['Bavaria'], "'Bavaria' is no cell: write"),
        (['47_11'], 'no cell'),
        (['47.3_11_1'], 'does not begin at a south-western corner of a grid of 1 degrees'),
        (['90_0_1'], 'does not begin'),
        (['0_180_1'], 'does not begin'),
        (['0_0_7'], 'must be a part of 90 degrees'),
        (['0_0_0'], 'must be a part of 90'),
        (['0_0_1', '0_0_2'], 'cell 0_0_2 is not of the same grid'),
        ([], 'no cell'),
    ],
)
def test_impossible_cells(cells, message):
    with pytest.raises(RetrievalError, match=message):
        read_grid(cells)


def test_cells_of_h3():
    pytest.importorskip('h3', reason='needs the extra places')
    name = H3Grid(4).cell(47.61, -122.33)
    grid, names = read_grid([name.upper()])
    assert names == [name] and grid.cell(47.61, -122.33) == name != H3Grid(5).cell(47.61, -122.33)
    with pytest.raises(RetrievalError, match='not of the same grid'):
        read_grid([name, H3Grid(5).cell(47.61, -122.33)])
    with pytest.raises(RetrievalError, match='is no cell'):
        read_grid(['f' * 15])
    with pytest.raises(RetrievalError, match='resolution of H3'):
        H3Grid(16)


def test_without_the_package_cells_of_h3_are_one_line(monkeypatch):
    real = builtins.__import__

    def refuse(name, *arguments, **options):
        if name == 'h3':
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, '__import__', refuse)
    with pytest.raises(RetrievalError, match='need the package h3: pip install "h3>=4", or use cells in degrees'):
        read_grid(['8428d55ffffffff'])
