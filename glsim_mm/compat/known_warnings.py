"""Warnings of libraries about each other, which a user can do nothing about."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# mmengine 0.10.7 on torch 2.14: its DDP wrapper passes `broadcast_buffers`, its loss scaler is `torch.cuda.amp`'s
# (https://github.com/open-mmlab/mmengine/blob/v0.10.7/mmengine/optim/optimizer/amp_optimizer_wrapper.py).
_MESSAGES = (r'`broadcast_buffers` is deprecated', r'`torch\.cuda\.amp\.GradScaler\(args\.\.\.\)` is deprecated')


@contextmanager
def ignore_known_warnings() -> Iterator[None]:
    """Keep deprecation warnings that mmengine causes in torch from the user; expires when mmengine heeds them.

    Yields:
        Runs the block.
    """
    with warnings.catch_warnings():
        for message in _MESSAGES:
            warnings.filterwarnings('ignore', message=message, category=FutureWarning)
        yield
