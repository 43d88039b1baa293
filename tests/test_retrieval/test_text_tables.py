"""Tables are read as spreadsheets and people write them, or refused with what to do."""

import pytest

from retrieval.errors import RetrievalError
from retrieval.text_tables import parse_table

EXPECTED = (['path', 'label'], [(2, ['a.jpg', 'Wren']), (3, ['b.jpg', 'Blue jay'])])


@pytest.mark.parametrize(
    'content',
    [
        b'path,label\na.jpg,Wren\nb.jpg,Blue jay\n',
        b'\xef\xbb\xbf path , label\r\na.jpg , Wren\r\n b.jpg,  Blue jay\xc2\xa0\r\n\r\n , \r\n',
        b'path;label\na.jpg;Wren\nb.jpg;Blue jay',
        b'path\tlabel\na.jpg\tWren\nb.jpg\tBlue jay',
        '\ufeffpath\tlabel\r\na.jpg\tWren\r\nb.jpg\tBlue jay\r\n'.encode('utf-16-le'),
        '\ufeffpath,label\na.jpg,"Wren"\nb.jpg, "Blue jay"'.encode('utf-16-be'),
    ],
)
def test_ways_to_write_a_table(content):
    assert parse_table(content, 't.csv') == EXPECTED


def test_quoted_cells_keep_what_they_hold():
    table = parse_table('path,label\n"with\nnewline.jpg","Jay, blue; ""big"""\nb\u2028c.jpg,d\x85e\n'.encode(), 't.csv')
    assert table.rows == [(3, ['with\nnewline.jpg', 'Jay, blue; "big"']), (4, ['b\u2028c.jpg', 'd\x85e'])]


@pytest.mark.parametrize(
    'content, expected',
    [
        (
            'path,label\na.jpg,Mésange\n'.encode('cp1252'),
            r't\.csv is not UTF-8 text \(line 2\): save it as UTF-8, .*iconv',
        ),
        ('path,label\n'.encode('utf-16-le'), 'NUL character in line 1'),
        (b'path,label\na\0b.jpg,Wren\n', 'NUL character in line 2'),
        (b'path,label;split\n', 'commas and semicolons'),
        (b'path,label\n"a.jpg,Wren\n', 'line 2 of .*cannot be read'),
    ],
)
def test_what_is_no_table(content, expected):
    with pytest.raises(RetrievalError, match=expected):
        parse_table(content, 't.csv')
