"""Both retrievers are timed on the same search."""

import faiss
import pytest
import torch
from tiny_run import call_tool

from glsim_mm.analysis.retriever_speed import measure_retrievers


def test_both_find_the_same():
    times = measure_retrievers(gallery_size=300, dimension=8, batch_size=3, topk=5, rounds=1)
    assert [row.same_ranking for row in times] == [True] * 3
    assert times[0].ratio == 1 and min(row.milliseconds for row in times) > 0
    assert times[1].ratio == pytest.approx(times[0].milliseconds / times[1].milliseconds)


@pytest.fixture
def _threads():
    """The command line sets threads for its process."""
    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    yield
    torch.set_num_threads(before[0])
    faiss.omp_set_num_threads(before[1])


@pytest.mark.usefixtures('_threads')
def test_command_line(capsys):
    call_tool('analysis/retriever_speed', '--gallery-size', 50, '--dimension', 4, '--rounds', 1, '--batch-size', 1, 2)
    out = capsys.readouterr().out
    assert 'batches of 1\n' in out and out.count('| FaissRetriever, full_scores=False |') == 2
    with pytest.raises(SystemExit):
        call_tool('analysis/retriever_speed', '--rounds', 0)
