"""The benchmark of kinds of index, small."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tiny_run import call_tool

from glsim_mm.analysis.index_benchmark import clustered_embeddings, prepare, recall, run_study
from glsim_mm.analysis.index_pareto import dominates, format_pareto, pareto
from glsim_mm.analysis.index_turns import format_turns, measure_in_turns
from glsim_mm.analysis.real_vectors import make_vectors, read_vectors
from glsim_mm.errors import GLSimError
from retrieval.gallery import create_gallery
from retrieval.index.part import make_part, read_part


def test_made_up_embeddings():
    first, again = (np.concatenate(list(clustered_embeddings(70_000, 8, seed=1))) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (70_000, 8) and first.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-5)
    queries = next(clustered_embeddings(100, 8, seed=1, stream=1))
    assert not np.isin(queries[:, 0], first[:, 0]).any()


def test_recall():
    assert recall(np.array([[1, 2], [3, -1]]), np.array([[2, 9], [3, 4]])) == 0.5


def _kind(preset, row_bytes, recall, batch_qps, single_ms):
    return SimpleNamespace(preset=preset, row_bytes=row_bytes, recall=recall, batch_qps=batch_qps, single_ms=single_ms)


def test_a_kind_is_dominated_where_another_is_better_in_all():
    small, exact, slow = (
        _kind('small', 50, 0.9, 900, 1.0),
        _kind('exact', 1500, 1, 90, 9),
        _kind('slow', 60, 0.9, 90, 9),
    )
    assert dominates(small, slow) and not dominates(slow, small) and not dominates(small, small)
    assert pareto([exact, slow, small]) == [small, exact]
    nearly = _kind('nearly', 50, 0.9, 930, 0.98)  # within what times vary
    assert dominates(nearly, small) and not dominates(nearly, small, 0.1) and not dominates(small, nearly, 0.1)
    lines = format_pareto([exact, slow, small]).splitlines()
    assert lines[2].startswith('| `small` | 50 | 0.900 | 900 | 1.00 | none')
    assert lines[3].endswith('| `small` |') and lines[4].endswith('| none |')


def test_rows_of_a_file_and_of_a_gallery(tmp_path):
    rows = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    np.save(tmp_path / 'rows.npy', rows)
    with create_gallery(tmp_path / 'gallery', 8) as gallery:
        gallery.add(rows)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(read_vectors(str(tmp_path / 'gallery')), unit, rtol=1e-5)
    prepare(tmp_path / 'out', 40, 8, 20, 3, read_vectors(str(tmp_path / 'rows.npy')))
    part, queries = read_part(tmp_path / 'out', 'a', 'flat'), np.load(tmp_path / 'out' / 'queries.npy')
    together = np.concatenate([part.rows, queries])  # each row once, of unit length: no query is in the gallery
    np.testing.assert_allclose(np.sort(together, axis=0), np.sort(unit, axis=0), rtol=1e-5)
    truth = np.load(tmp_path / 'out' / 'truth.npy')
    np.testing.assert_array_equal(truth[:, 0], (queries @ part.rows.T).argmax(axis=1))


@pytest.mark.parametrize(
    'content, words', [(b'no numbers', 'cannot be read as a file of NumPy'), (np.arange(9), 'must hold floating point')]
)
def test_files_that_hold_no_vectors(tmp_path, content, words):
    path = tmp_path / 'a.npy'
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    with pytest.raises(GLSimError, match=words):
        read_vectors(str(path))


def test_too_few_vectors_say_how_many_queries_fit(tmp_path):
    np.save(tmp_path / 'a.npy', np.ones((100, 4), np.float32))
    with pytest.raises(GLSimError, match='has 100 vectors, too few for 95 queries .* take --queries 10'):
        next(run_study(tmp_path / 'out', 1000, 8, 95, source=str(tmp_path / 'a.npy')))


def test_too_few_photos_say_how_many_rows_they_give(tmp_path):
    Image.new('RGB', (32, 32)).save(tmp_path / 'a.png')
    with pytest.raises(GLSimError, match='1 photos give 256 vectors, 256 each: take more photos, or --rows 256'):
        make_vectors([str(tmp_path)], 257, tmp_path / 'out.npy')
    assert not (tmp_path / 'out.npy').exists()


def test_kinds_take_turns_at_one_recall():
    rows = np.concatenate(list(clustered_embeddings(900, 16)))
    queries = next(clustered_embeddings(40, 16, stream=1))
    truth = np.argsort(-(queries @ rows.T), axis=1)[:, :10]
    parts = {name: make_part(rows, np.arange(900), 'cosine', name) for name in ('flat', 'ivf-flat')}
    flat, lists = measure_in_turns(parts, 'cosine', queries, truth, 0.8, 1)
    assert flat.effort == '' and flat.recall == 1 and flat.batch_ratio.median == 1
    assert lists.effort.startswith('nprobe ') and 0.8 <= lists.recall < 1  # no more than it takes
    assert lists.batch_qps.median > 0 and lists.single_ms.median > 0
    lines = format_turns([flat, lists], {'flat': 64.0, 'ivf-flat': 80.0}).splitlines()
    assert lines[0].count('times `flat`') == 2 and lines[3].startswith('| `ivf-flat` | 80 | nprobe ')


@pytest.mark.slow
def test_photos_give_the_same_vectors_each_time(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (2, 64, 48, 3), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(tmp_path / f'{number}.png')
    for name in ('first.npy', 'second.npy'):
        call_tool('retrieval/benchmark', '--make-vectors', tmp_path, '--rows', 300, '--into', tmp_path / name)
    first, second = (np.load(tmp_path / name) for name in ('first.npy', 'second.npy'))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (300, 384)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-5)


@pytest.mark.slow
def test_command_line_measures_once(tmp_path, capsys):
    size = ['--rows', 3000, '--dimension', 32, '--queries', 40, '--rounds', 1, '--batches', 1, 8]
    arguments = [*size, '--presets', 'flat', 'hnsw', '--out', tmp_path / 'out']
    call_tool('retrieval/benchmark', *arguments)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith('measuring')] == ['measuring flat', 'measuring hnsw']
    results = json.loads((tmp_path / 'out' / 'results.json').read_text())
    flat, hnsw = results['kinds']
    assert flat['recall'] == 1 and 0.9 < hnsw['recall'] <= 1
    assert hnsw['disk_mib'] > flat['disk_mib'] > 0.36 and flat['single_ms'] > 0
    assert [(one['preset'], one['batch']) for one in results['overheads']] == [
        ('flat', 1), ('flat', 8), ('hnsw', 1), ('hnsw', 8),
    ]  # fmt: skip
    tables = [line for line in lines if line.startswith('| `')]
    assert len(tables) == 2 + 2 + 4 and (tmp_path / 'out' / 'pareto.png').stat().st_size > 9999

    call_tool('retrieval/benchmark', *arguments)
    again = capsys.readouterr().out.splitlines()
    assert not [line for line in again if line.startswith('measuring')]
    assert [line for line in again if line.startswith('| `')] == tables
    with pytest.raises(SystemExit) as stop:
        call_tool('retrieval/benchmark', *arguments, '--seed', 5)
    assert stop.value.code == 2 and 'another size, seed or version' in capsys.readouterr().err
