"""A function of NumPy that is gone, where mmpretrain still calls it."""

from types import ModuleType
from typing import Any

import numpy as np
from mmpretrain.evaluation.metrics import retrieval


class _NumpyWithIn1d(ModuleType):
    """The module ``numpy``, and in it ``in1d``."""

    def __getattr__(self, name: str) -> Any:
        return np.isin if name == 'in1d' else getattr(np, name)


def restore_in1d() -> None:
    """Let ``RetrievalRecall`` and ``RetrievalAveragePrecision`` of mmpretrain 1.2.0 work with NumPy 2.4.

    They call ``numpy.in1d``, which NumPy 2.4 removed
    (https://numpy.org/doc/stable/release/2.4.0-notes.html). Only mmpretrain's module gets it back; may be repeated.
    Expires when mmpretrain calls ``numpy.isin``.
    """
    if not hasattr(retrieval.np, 'in1d'):
        retrieval.np = _NumpyWithIn1d('numpy')
