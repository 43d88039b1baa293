"""Calls of mmengine and mmpretrain that newer versions of torch and NumPy warn about, or no longer know."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
from mmpretrain.evaluation.metrics import retrieval

# mmengine 0.10.7 on torch 2.14: its DDP wrapper passes `broadcast_buffers`, its loss scaler is `torch.cuda.amp`'s
# (https://github.com/open-mmlab/mmengine/blob/v0.10.7/mmengine/optim/optimizer/amp_optimizer_wrapper.py).
_MESSAGES = (r'`broadcast_buffers` is deprecated', r'`torch\.cuda\.amp\.GradScaler\(args\.\.\.\)` is deprecated')


@contextmanager
def ignore_known_warnings() -> Iterator[None]:
    """Keep deprecation warnings that mmengine causes in torch from the user, who can do nothing about them.

    Expires when mmengine heeds them.
    """
    with warnings.catch_warnings():
        for message in _MESSAGES:
            warnings.filterwarnings('ignore', message=message, category=FutureWarning)
        yield


def restore_in1d() -> None:
    """Let ``RetrievalRecall`` and ``RetrievalAveragePrecision`` of mmpretrain 1.2.0 work with NumPy 2.4.

    They call ``numpy.in1d``, which NumPy 2.4 removed
    (https://numpy.org/doc/stable/release/2.4.0-notes.html). Only mmpretrain's module gets it back; may be repeated.
    Expires when mmpretrain calls ``numpy.isin``.
    """
    if not hasattr(retrieval.np, 'in1d'):
        retrieval.np = _NumpyWithIn1d('numpy')


class _NumpyWithIn1d(ModuleType):
    """The module ``numpy``, and in it ``in1d``."""

    def __getattr__(self, name: str) -> Any:
        return np.isin if name == 'in1d' else getattr(np, name)
