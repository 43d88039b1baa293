"""Names of classes for people."""

import pytest

from retrieval.names import pretty_name


@pytest.mark.parametrize(
    'name, expected',
    [
        ('001.Black_footed_Albatross', 'Black-footed Albatross'),
        ('200.Common_Yellowthroat', 'Common Yellowthroat'),
        ('001.One_spot_fish', 'One spot fish'),
        ('n02085620-Chihuahua', 'Chihuahua'),
        ('00042_Animalia_Aves', 'Animalia Aves'),
        ('great_pyrenees', 'great pyrenees'),
        ('AM General Hummer SUV 2000', 'AM General Hummer SUV 2000'),
        ('2012_Model', '2012 Model'),
        ('Boeing 737-200', 'Boeing 737-200'),
        ('17', '17'),
        ('001.a/0_b.jpg', '001.a/0_b.jpg'),
        ('001.', '001.'),
        ('_', '_'),
        ('', ''),
        ('シジュウカラ', 'シジュウカラ'),
    ],
)
def test_name(name, expected):
    assert pretty_name(name) == expected
