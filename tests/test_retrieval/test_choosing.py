"""Which views and metric are chosen, by classes that are held out."""

import json

import numpy as np
import pytest
from tiny_run import call_tool

from retrieval.choosing import Candidate, apply_choice, choose, list_candidates
from retrieval.errors import RetrievalError
from retrieval.gallery import Record, create_gallery, open_gallery
from retrieval.gallery.spaces import Spaces

WIDTH = 10


def fill(place, classes=10, each=8, noise=(0.5, 2.5), loud=5.0, seed=0):
    """Two views of the same classes: a good one and a worse, both with much noise in two directions."""
    rng = np.random.default_rng(seed)
    centers = np.repeat(rng.standard_normal((classes, WIDTH)), each, axis=0)
    spread = np.where(np.arange(WIDTH) < 2, loud, 1.0)
    views = {
        name: (centers + own * spread * rng.standard_normal(centers.shape)).astype(np.float32)
        for name, own in zip(('worse', 'good'), noise[::-1])
    }
    with create_gallery(place, {**dict.fromkeys(views, WIDTH), 'narrow': 3}) as gallery:
        views['narrow'] = rng.standard_normal((len(centers), 3)).astype(np.float32)
        gallery.add(views, [Record(label=f'class {row // each}') for row in range(len(centers))])
    return place


def test_candidates_are_sums_of_what_can_be_added_up():
    spaces = Spaces('cosine', dict(a=4, b=4, c=3), {})
    found = list_candidates(spaces, kinds=['sum', 'classes'])
    assert found[0] == Candidate(('a',), 'sum') and len(found) == len(set(found)) == 8
    assert {one.views for one in found} == {'a', 'b', 'c', 'a+b'}
    five = list_candidates(Spaces('cosine', dict.fromkeys('abcde', 4), {}), kinds=['sum'])
    assert sorted({len(one.sources) for one in five}) == [1, 2, 5] and len(five) == 5 + 10 + 1
    with pytest.raises(RetrievalError, match='did you mean classes'):
        list_candidates(spaces, kinds=['class'])


def test_the_good_view_and_its_metric_win(tmp_path):
    with open_gallery(fill(tmp_path / 'gallery'), writable=True) as gallery:
        spaces = ['worse', 'good']
        choice = choose(gallery, list_candidates(Spaces.of(gallery), spaces, ['sum', 'pca', 'classes']))
        assert choice.classes == 10 and 'good' in choice.winner.sources and choice.winner.kind == 'classes'
        best = choice.rows[choice.best]
        assert best.gain > 0.1 and best.interval[0] < best.gain < best.interval[1] and best.p < 0.05
        today = choice.rows[0]
        assert (today.gain, today.interval) == (0, (0, 0))
        assert len(choice.rows[choice.frugal].candidate.sources) == 1
        assert 'It is kept as the space' in apply_choice(gallery, choice)
        again = choose(gallery, list_candidates(Spaces.of(gallery), spaces, ['classes']))
        assert again.rows[0].candidate == choice.winner and again.best == 0
        assert apply_choice(gallery, again) == 'Nothing is changed.'


def test_a_view_as_it_is_can_be_best(tmp_path):
    with open_gallery(fill(tmp_path / 'gallery', noise=(0.2, 30.0), loud=1.0), writable=True) as gallery:
        choice = choose(gallery, list_candidates(Spaces.of(gallery), ['worse', 'good'], ['sum']))
        assert choice.winner == Candidate(('good',), 'sum')
        assert apply_choice(gallery, choice) == 'Searches now compare good by default.'
        assert next(iter(gallery.manifest.spaces)) == 'good'


def test_nothing_is_chosen_by_chance(tmp_path):
    """Views and labels that mean nothing: of four galleries none changes."""
    for seed in range(4):
        place = fill(tmp_path / str(seed), 6, 3, noise=(1e3, 1e3), loud=1.0, seed=seed)
        with open_gallery(place) as gallery:
            assert choose(gallery, list_candidates(Spaces.of(gallery), ['worse', 'good'], ['sum', 'classes'])).best == 0


def test_the_tool(tmp_path, capsys):
    place = fill(tmp_path / 'gallery')
    out = tmp_path / 'numbers.json'
    call_tool('retrieval/choose', place, '--spaces', 'worse', 'good', '--kinds', 'sum', 'classes', '--json', out)
    printed = capsys.readouterr()
    assert max(map(len, printed.out.splitlines())) <= 80
    table = printed.out.splitlines()
    assert table[1].split()[:2] == ['worse', 'none'] and table[1].endswith('today')
    assert table[6].endswith('*') and table[6].split()[1] == 'classes'
    views = table[6].split()[0]
    assert f'metric.py fit {place} --space {views}' in printed.err
    numbers = json.loads(out.read_text())
    assert numbers['rows'][numbers['best']]['candidate'] == {'sources': views.split('+'), 'kind': 'classes'}
    call_tool('retrieval/choose', place, '--spaces', *views.split('+'), '--kinds', 'classes', '--apply')
    with open_gallery(place) as gallery:
        assert next(iter(gallery.transforms.values())).source == views


@pytest.mark.parametrize(
    'arguments,message',
    [
        (['gallery', '--spaces', 'no'], "the gallery has no space 'no'"),
        (['.'], 'is no gallery; to encode the photos in it, give --out, and either --encoder, or --config'),
        (['bare'], 'comparing takes 5 classes of two photos or more'),
        (['nowhere'], 'there is no gallery at'),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, capsys, arguments, message):
    fill(tmp_path / 'gallery')
    with create_gallery(tmp_path / 'bare', {'global': 3}) as gallery:
        gallery.add(np.eye(3, dtype=np.float32))
    with pytest.raises(SystemExit) as caught:
        call_tool('retrieval/choose', tmp_path / arguments[0], *arguments[1:])
    assert caught.value.code == 2 and message in capsys.readouterr().err.splitlines()[-1]
