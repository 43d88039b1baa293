"""The benchmark of kinds of index, small."""

import json

import numpy as np
import pytest
from tiny_run import call_tool

from glsim_mm.analysis.index_benchmark import clustered_embeddings, recall


def test_made_up_embeddings():
    first, again = (np.concatenate(list(clustered_embeddings(70_000, 8, seed=1))) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (70_000, 8) and first.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-5)
    queries = next(clustered_embeddings(100, 8, seed=1, stream=1))
    assert not np.isin(queries[:, 0], first[:, 0]).any()


def test_recall():
    assert recall(np.array([[1, 2], [3, -1]]), np.array([[2, 9], [3, 4]])) == 0.5


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
    assert len(tables) == 2 + 4

    call_tool('retrieval/benchmark', *arguments)
    again = capsys.readouterr().out.splitlines()
    assert not [line for line in again if line.startswith('measuring')]
    assert [line for line in again if line.startswith('| `')] == tables
    with pytest.raises(SystemExit) as stop:
        call_tool('retrieval/benchmark', *arguments, '--seed', 5)
    assert stop.value.code == 2 and 'another size, seed or version' in capsys.readouterr().err
