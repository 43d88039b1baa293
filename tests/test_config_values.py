"""Values of --cfg-options."""

import argparse

import pytest
from mmengine.config import DictAction

from glsim_mm.config_values import parse_options, parse_value
from glsim_mm.errors import GLSimError

AS_BEFORE = (
    *('3', '-3', '0.1', '1e-3', 'inf', 'true', 'False', 'None', 'none', '', 'abc', './2024', '1_000'),
    *('1,2', '1,', '[1,2]', '(1,2)', '[]', '()', '[(1,2),[a,b],c]', '[[1,2],[3]]', 'a,[1,2]', '(1,2),(3,4)'),
    *('"[1,2]"', "'abc'", '["a","b"]', '[ 1, 2 ]', 'x(1)', 's3://a/b=c'),
)


@pytest.mark.parametrize('text', AS_BEFORE)
def test_values_mean_what_they_mean_to_mmengine(text):
    theirs = argparse.Namespace()
    if text != '(1,2),(3,4)':  # mmengine looks at the first and the last bracket only
        DictAction(['--cfg-options'], 'found')(argparse.ArgumentParser(), theirs, [f'a={text}'])
        assert repr(parse_options([f'a={text}'])) == repr(theirs.found)
    else:
        assert parse_value(text) == [(1, 2), (3, 4)]


@pytest.mark.parametrize(
    'text, value',
    [
        ('my photos/a b', 'my photos/a b'),
        ('[a b, c]', ['a b', 'c']),
        ("dict(type='A', p=0.5)", dict(type='A', p=0.5)),
        ("{'type': 'A', 'b': [1, (2, None)]}", dict(type='A', b=[1, (2, None)])),
        ("[dict(type='A', q=dict(x=-1)), dict(type='B')]", [dict(type='A', q=dict(x=-1)), dict(type='B')]),
        ('dict()', {}),
    ],
)
def test_blanks_and_dicts(text, value):
    assert parse_value(text) == value


@pytest.mark.parametrize(
    'word, message',
    [
        ('model', 'model: write it as NAME=VALUE'),
        ('=3', '=3: write it as NAME=VALUE'),
        ('a..b=3', 'write it as NAME=VALUE'),
        ('a =3', 'without blanks'),
        ('a=[1,2', r'a=\[1,2: brackets do not match'),
        ('a=[1', 'brackets do not match'),
        ('a=1,2)', 'brackets do not match'),
        ('a=[(1,2])', 'brackets do not match'),
        ('a={b: 1}', 'it is no Python .*; write for example'),
        ('a=dict(b=', 'it is no Python .*; write for example'),
        ('a=dict(b=open("x"))', 'it is no Python'),
        ('a=dict(1)', 'it is no Python'),
        ('a=dict(**{})', 'it is no Python'),
        ('a={**{}}', 'it is no Python'),
    ],
)
def test_what_cannot_be_read(word, message):
    with pytest.raises(GLSimError, match=f'^--cfg-options .*{message}'):
        parse_options([word])
