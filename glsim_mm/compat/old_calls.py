"""Calls of OpenMMLab's packages that newer versions of Python, torch and NumPy warn about, or no longer know."""

import pkgutil
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.abc import Loader
from importlib.util import find_spec
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
        retrieval.np = _Changed(np, in1d=np.isin)


def restore_find_loader() -> None:
    """Let mmengine and mmcv look for mmcv's compiled operators with Python 3.14.

    They call ``pkgutil.find_loader``, which Python 3.14 removed (https://docs.python.org/3.14/whatsnew/3.14.html), as
    soon as an optimizer with ``paramwise_cfg`` is built. Only their modules get it back; may be repeated. Expires when
    both call ``importlib.util.find_spec``, as OneDL's fork of mmengine does (their mmcv 2.3.6 does not).
    """
    for name in ('mmengine.utils.dl_utils.misc', 'mmcv.utils.ext_loader'):
        module: Any = import_module(name)
        if not hasattr(getattr(module, 'pkgutil', pkgutil), 'find_loader'):
            module.pkgutil = _Changed(pkgutil, find_loader=_find_loader)


def silence_missing_programs() -> None:
    """Keep complaints of the shell about compilers that are not installed from the user; may be repeated.

    For the description of the machine at the head of each log, mmengine asks the compiler that Python was built with
    for its version, by way of a shell, and notes "n/a" if that fails. The shell's "x86_64-linux-gnu-gcc: not found"
    reaches the terminal nevertheless (https://github.com/open-mmlab/mmengine/blob/v0.10.7/mmengine/utils/dl_utils/
    collect_env.py). Expires when mmengine catches what such programs print.
    """
    module: Any = import_module('mmengine.utils.dl_utils.collect_env')  # the package has a function of this name, too
    module.subprocess = _Changed(subprocess, check_output=partial(subprocess.check_output, stderr=subprocess.DEVNULL))


def _find_loader(name: str) -> Loader | None:
    spec = find_spec(name)
    return None if spec is None else spec.loader


class _Changed(ModuleType):
    """A module with some attributes added or replaced, for one module that uses it."""

    def __init__(self, original: ModuleType, **attributes: Any) -> None:
        super().__init__(original.__name__)
        self._original = original
        vars(self).update(attributes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)
