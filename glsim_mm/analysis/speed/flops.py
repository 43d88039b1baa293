"""Floating-point operations, counted while a function runs."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@torch.no_grad()
def count_flops(function: Callable[[], Any]) -> int:
    """FLOPs of the matrix products, convolutions and attention of one call, a multiply-add counting as two.

    Args:
        function: Is called once, without fused attention, which the counter does not know on every device; the number
            is the same.

    Returns:
        FLOPs.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()
