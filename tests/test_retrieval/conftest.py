"""Fixtures of the tests of image search."""

from collections.abc import Iterator

import faiss
import pytest


@pytest.fixture(autouse=True, scope='session')
def _one_thread_of_faiss() -> Iterator[None]:
    """torch's number of threads reaches FAISS through the shared OpenMP; a second one spins on a busy machine."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)
