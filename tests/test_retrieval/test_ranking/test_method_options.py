"""Options of re-ranking as people type them, and those that a gallery's classes suggest."""

import numpy as np
import pytest
from tiny_run import call_tool

from retrieval.errors import RetrievalError
from retrieval.evaluation import evaluate_gallery
from retrieval.gallery import Record, create_gallery
from retrieval.ranking import fit_options, parse_options, rerank


def fill(place, sizes, unlabeled=0):
    rng = np.random.default_rng(0)
    labels = [f'class {number}' for number, size in enumerate(sizes) for _ in range(size)] + [None] * unlabeled
    gallery = create_gallery(place, {'global': 6})
    if labels:
        gallery.add(rng.standard_normal((len(labels), 6)).astype(np.float32), [Record(label=one) for one in labels])
    return gallery


@pytest.mark.parametrize(
    'sizes,unlabeled,k1,k2',
    [
        ([12] * 5, 0, 11, 3),
        ([12] * 5, 50, 11, 3),
        ([2, 2, 9], 0, 8, 2),  # most photos are of the large class
        ([40, 40], 0, 20, 6),
        ([1, 1, 1], 0, 1, 1),
        ([], 9, 20, 6),
        ([], 0, 20, 6),
    ],
)
def test_neighbours_do_not_exceed_what_classes_hold(tmp_path, sizes, unlabeled, k1, k2):
    with fill(tmp_path / 'gallery', sizes, unlabeled) as gallery:
        assert fit_options(gallery, 'k-reciprocal') == dict(k1=k1, k2=k2)
        assert fit_options(gallery, 'k-reciprocal', dict(k1=8, weight=0.5)) == dict(k1=8, k2=2, weight=0.5)
        assert fit_options(gallery, 'region') == fit_options(gallery, None) == {}


def test_sizes_of_a_large_gallery_are_scaled(tmp_path, monkeypatch):
    monkeypatch.setattr('retrieval.ranking.method_options._SAMPLE', 20)
    with fill(tmp_path / 'gallery', [15] * 8) as gallery:
        assert 9 <= fit_options(gallery, 'k-reciprocal')['k1'] <= 20


def test_they_reach_the_evaluation_and_the_table(tmp_path):
    with fill(tmp_path / 'gallery', [6] * 5) as gallery:
        report = evaluate_gallery(gallery, method='k-reciprocal', depth=20)
        same = evaluate_gallery(gallery, method='k-reciprocal', depth=20, method_options=dict(k1=5, k2=2))
        other = evaluate_gallery(gallery, method='k-reciprocal', depth=20, method_options=dict(k1=1, k2=1, weight=1.0))
        assert report.metrics == same.metrics != other.metrics
        assert report.settings['re-rank'] == 'k-reciprocal of the first 20, k1=5, k2=2'
        with pytest.raises(RetrievalError, match="k-reciprocal has no option 'k3'"):
            rerank(gallery, gallery.vectors([0]), gallery.search(gallery.vectors([0]), 5), 'k-reciprocal', k3=1)


def test_they_can_be_typed():
    assert parse_options('k-reciprocal', ['k1=8', 'weight=0.6']) == dict(k1=8, weight=0.6)
    assert parse_options('query-expansion', ['search_again=false']) == dict(search_again=False)
    assert parse_options(None, []) is None


@pytest.mark.parametrize('tool,more', [('evaluate', []), ('search', ['--id', '0'])])
def test_the_tools_take_them(tmp_path, capsys, tool, more):
    fill(tmp_path / 'gallery', [6] * 5).close()
    call = [f'retrieval/{tool}', tmp_path / 'gallery', *more, '--rerank', 'k-reciprocal']
    call_tool(*call)
    printed = capsys.readouterr()
    assert 'k1=5, k2=2' in printed.out + printed.err
    call_tool(*call, '--rerank-options', 'k1=3', 'weight=0.9')
    printed = capsys.readouterr()
    assert 'k1=3, weight=0.9, k2=1' in printed.out + printed.err
    known = 'k-reciprocal takes k1=20, k2=6, weight=0.3'
    for typed, message in [
        (['--rerank-options', 'k3=1'], f'--rerank-options k3=1: {known}'),
        (['--rerank-options', 'k1=x'], f'--rerank-options k1=x: {known}'),
        (['--rerank-options', 'k1'], f'--rerank-options k1: {known}'),
        (['--rerank-options', 'k1=0'], 'k1 and k2 must be at least 1'),
        (['--rerank-options', 'weight=2'], 'weight from 0 to 1'),
    ]:
        with pytest.raises(SystemExit) as caught:
            call_tool(*call, *typed)
        assert caught.value.code == 2 and message in capsys.readouterr().err.splitlines()[-1]
    with pytest.raises(SystemExit):
        call_tool(*call[:-2], '--rerank-options', 'k1=3')
    assert 'are options of --rerank: name a method' in capsys.readouterr().err
