"""tools/retrieval/evaluate.py: a table of 80 columns, JSON, and errors of one line."""

import json

import numpy as np
import pytest
from tiny_run import call_tool

from retrieval.evaluation import evaluate_embeddings
from retrieval.gallery import Record, create_gallery

COUNT, CLASSES = 48, 4


def data(seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(COUNT) % CLASSES
    centres = np.random.default_rng(7).standard_normal((CLASSES, 6))
    return (centres[labels] + 1.5 * rng.standard_normal((COUNT, 6))).astype(np.float32), labels


def build(location, seed=0):
    embeddings, labels = data(seed)
    names = [f'{label:03}.A_bird_with_a_name_of_{"many_" * 8}words' for label in labels]
    records = [Record(label=name, split='val' if row % 3 else 'test') for row, name in enumerate(names)]
    with create_gallery(location, {'global': 6, 'crop': 6}, preset='flat') as gallery:
        gallery.add({'global': embeddings, 'crop': embeddings[:, ::-1].copy()}, records)
    return location


@pytest.fixture(scope='module')
def gallery(tmp_path_factory):
    return build(tmp_path_factory.mktemp('evaluate') / 'gallery')


def fails(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_info:
        call_tool('retrieval/evaluate', *arguments)
    assert exit_info.value.code == 2
    return capsys.readouterr().err.splitlines()


def test_table_and_json(gallery, tmp_path, capsys):
    call_tool('retrieval/evaluate', gallery, '--by-class', 2, '--json', tmp_path / 'report.json')
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    expected = evaluate_embeddings(*data(0))
    report = json.loads((tmp_path / 'report.json').read_text())
    assert report['metrics'] == pytest.approx(expected.metrics)
    assert len(report['classes']) == CLASSES and report['num_queries'] == COUNT
    (line,) = [line for line in lines if line.startswith('mAP ')]
    assert line.split() == ['mAP', f'{100 * expected.metrics["mAP"]:.2f}', f'{100 * expected.class_metrics["mAP"]:.2f}']
    assert [line[:3] for line in lines[-2:]] == [f'00{scores.name}' for scores in expected.classes[:2]]


def test_filters_spaces_and_depth_of_recall(gallery, tmp_path, capsys):
    out = tmp_path / 'report.json'
    call_tool(
        *('retrieval/evaluate', gallery, '--where', 'split=val', '--query-where', 'split=test'),
        *('--space', 'global=0.5,crop=0.5', '--recall-at', 1, 10, '--no-map', '--json', out),
    )
    embeddings, labels = data(0)
    is_query = np.arange(COUNT) % 3 == 0
    parts = embeddings[~is_query], labels[~is_query], embeddings[is_query], labels[is_query]
    # the other space holds the same numbers in another order, so both say the same
    expected = evaluate_embeddings(*parts, ks=(1, 10), whole_ranking=False)
    report = json.loads(out.read_text())
    assert report['metrics'] == pytest.approx(expected.metrics)
    assert report['settings']['space'] == '0.5 global, 0.5 crop'
    assert 'queries apart from the gallery' in capsys.readouterr().out


def test_other_queries_unseen_classes_and_re_ranking(gallery, tmp_path, capsys):
    out = tmp_path / 'report.json'
    queries = build(tmp_path / 'queries', seed=1)
    call_tool('retrieval/evaluate', gallery, '--queries', queries, '--unseen', '--json', out)
    (embeddings, labels), (others, other_labels) = data(0), data(1)
    kept = labels >= 2
    expected = evaluate_embeddings(embeddings[kept], labels[kept], others[kept], other_labels[kept])
    assert json.loads(out.read_text())['metrics'] == pytest.approx(expected.metrics)
    call_tool('retrieval/evaluate', gallery, '--rerank', 'k-reciprocal', '--depth', 20, '--json', out)
    assert json.loads(out.read_text())['settings']['re-rank'] == 'k-reciprocal of the first 20, k1=11, k2=3'
    assert 'k-reciprocal' in capsys.readouterr().out


def test_mistakes_are_one_line(gallery, tmp_path, capsys):
    assert len(fails(capsys, tmp_path / 'nowhere')) == 1
    (line,) = fails(capsys, gallery, '--space', 'patches')
    assert line.startswith('error: ') and 'global, crop' in line
    assert len(fails(capsys, gallery, '--where', 'genus=x')) == 1
    assert 'must be 1 or more' in fails(capsys, gallery, '--recall-at', 0)[-1]
