"""Calls of OpenMMLab's packages work with today's Python and NumPy, and without a compiler."""

import pkgutil
import sysconfig

import mmcv.utils.ext_loader
import numpy as np
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.utils.dl_utils import collect_env
from mmpretrain.evaluation import RetrievalAveragePrecision, RetrievalRecall
from mmpretrain.evaluation.metrics import retrieval

from glsim_mm.compat.old_calls import restore_find_loader, restore_in1d


def test_metrics_of_mmpretrain_compute():
    had_it = hasattr(np, 'in1d')
    restore_in1d()
    restore_in1d()
    ranking, relevant = [torch.tensor([2, 0, 1])], [torch.tensor([0, 1])]
    assert RetrievalRecall.calculate(list(ranking), relevant, (1, 2), True, True) == [0, 100]
    precision = RetrievalAveragePrecision.calculate(list(ranking), relevant, 3, True, True)
    assert precision == 100 * (1 / 2 + 2 / 3) / 2
    assert retrieval.np.float32 is np.float32 and hasattr(np, 'in1d') == had_it


def test_python_without_find_loader(monkeypatch):
    monkeypatch.delattr(pkgutil, 'find_loader', raising=False)  # as Python 3.14 did
    restore_find_loader()
    options = dict(optimizer=dict(type='SGD', lr=1.0, weight_decay=0.1), paramwise_cfg=dict(norm_decay_mult=0.0))
    wrapper = build_optim_wrapper(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)), options)
    assert [group['weight_decay'] for group in wrapper.param_groups[:4]] == [0.1, 0.1, 0, 0]
    looks = mmcv.utils.ext_loader.pkgutil
    assert looks.find_loader('mmcv._no_such_operators') is None and looks.find_loader('mmcv.utils') is not None
    assert looks.walk_packages is pkgutil.walk_packages
    assert not hasattr(pkgutil, 'find_loader')


def test_machine_without_a_compiler(capfd, monkeypatch):
    monkeypatch.setitem(sysconfig.get_config_vars(), 'CC', 'no-such-compiler -pthread')
    assert collect_env()['GCC'] == 'n/a'
    assert 'no-such-compiler' not in capfd.readouterr().err
