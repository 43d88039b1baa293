"""mmpretrain's metrics of retrieval work with today's NumPy."""

import numpy as np
import torch
from mmpretrain.evaluation import RetrievalAveragePrecision, RetrievalRecall
from mmpretrain.evaluation.metrics import retrieval

from glsim_mm.compat.old_calls import restore_in1d


def test_metrics_of_mmpretrain_compute():
    had_it = hasattr(np, 'in1d')
    restore_in1d()
    restore_in1d()
    ranking, relevant = [torch.tensor([2, 0, 1])], [torch.tensor([0, 1])]
    assert RetrievalRecall.calculate(list(ranking), relevant, (1, 2), True, True) == [0, 100]
    precision = RetrievalAveragePrecision.calculate(list(ranking), relevant, 3, True, True)
    assert precision == 100 * (1 / 2 + 2 / 3) / 2
    assert retrieval.np.float32 is np.float32 and hasattr(np, 'in1d') == had_it
