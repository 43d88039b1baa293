"""Taxonomies from tables and metadata."""

from types import SimpleNamespace

import pytest

from retrieval.errors import RetrievalError
from retrieval.recognition import Taxonomy

TABLE = """species,genus,family
Herring Gull,Larus,Laridae
Ring-billed Gull,Larus,Laridae
Common Tern,Sterna,Laridae
"Ani, groove-billed",Crotophaga,
Mystery,,
"""


@pytest.fixture
def taxonomy(tmp_path):
    path = tmp_path / 'birds.csv'
    path.write_text(TABLE, encoding='utf-8')
    return Taxonomy.from_csv(path)


def test_reads_a_table(taxonomy):
    assert taxonomy.depth == 2
    assert taxonomy.ancestors('Herring Gull') == ('Laridae', 'Larus')
    assert taxonomy.ancestors('Ani, groove-billed') == ('Crotophaga',)
    assert taxonomy.ancestors('Mystery') == taxonomy.ancestors('not there') == ()


def test_groups_of_levels_are_whole_ways(taxonomy):
    assert taxonomy.group('Common Tern', 0) == ('Laridae', 'Sterna', 'Common Tern')
    assert taxonomy.group('Common Tern', 1) == ('Laridae', 'Sterna')
    assert taxonomy.group('Common Tern', 2) == ('Laridae',)
    assert taxonomy.group('Common Tern', 3) is None
    assert taxonomy.group('not there', 0) == ('not there',)
    assert taxonomy.group('not there', 1) is None


@pytest.mark.parametrize(
    'text, message',
    [
        ('species,genus\n', 'no line below'),
        ('species,genus\na,b\na,c\n', "line 3: 'a' occurs twice"),
        ('species,genus,family\na,,c\n', 'line 2: a cell before the last is empty'),
    ],
)
def test_bad_tables_are_clear_errors(tmp_path, text, message):
    path = tmp_path / 'bad.csv'
    path.write_text(text)
    with pytest.raises(RetrievalError, match=message):
        Taxonomy.from_csv(path)


def test_a_table_that_cannot_be_read_is_a_clear_error(tmp_path):
    with pytest.raises(RetrievalError, match='cannot be read|not UTF-8'):
        Taxonomy.from_csv(tmp_path / 'none.csv')
    (tmp_path / 'bytes.csv').write_bytes(b'a,b\n\xff\xfe,c\n')
    with pytest.raises(RetrievalError, match='cannot be read|not UTF-8'):
        Taxonomy.from_csv(tmp_path / 'bytes.csv')


def _record(label, **metadata):
    return SimpleNamespace(label=label, metadata=metadata)


def test_reads_metadata_of_rows():
    records = [
        _record('gull', genus='Larus', family='Laridae'),
        _record('gull', genus='Larus', family='Laridae'),
        _record('ani', genus='Crotophaga', family=None),
        _record('owl'),
        _record(None, genus='nothing'),
    ]
    taxonomy = Taxonomy.from_records(records, ['genus', 'family'])
    assert taxonomy.ancestors('gull') == ('Laridae', 'Larus')
    assert taxonomy.ancestors('ani') == ('Crotophaga',)
    assert taxonomy.ancestors('owl') == ()


def test_rows_of_a_class_must_agree():
    records = [_record('gull', genus='Larus'), _record('gull', genus='Sterna')]
    with pytest.raises(RetrievalError, match="'gull' differ in genus"):
        Taxonomy.from_records(records, ['genus'])
