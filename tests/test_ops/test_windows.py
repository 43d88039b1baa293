"""Attention inside windows."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from glsim_mm.ops import merge_windows, partition_windows, window_attention


def _tokens(grid, extra=1, batch=2, seed=0):
    shape = (3, batch, 2, extra + grid[0] * grid[1], 4)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double().unbind()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 8))
def test_windows_and_back(height, width, size):
    patches = torch.randn(2, 3, height, width, 5)
    windows = partition_windows(patches, size)
    assert windows.shape == (2 * -(-height // size) * -(-width // size), 3, size**2, 5)
    torch.testing.assert_close(merge_windows(windows, size, (height, width)), patches.flatten(2, 3))


def test_order_of_windows():
    numbers = torch.arange(24).reshape(1, 1, 4, 6, 1)
    windows = partition_windows(numbers, 2)[:, 0, :, 0]
    assert windows[0].tolist() == [0, 1, 6, 7] and windows[1].tolist() == [2, 3, 8, 9] and windows[3, 0] == 12


@pytest.mark.parametrize('grid', [(4, 6), (3, 5), (1, 7)])
@pytest.mark.parametrize('extra', [0, 1, 5])
def test_a_window_that_covers_the_grid_is_plain_attention(grid, extra):
    query, key, value = _tokens(grid, extra)
    plain = F.scaled_dot_product_attention(query, key, value)
    for size in (max(grid), max(grid) + 2):
        torch.testing.assert_close(window_attention(query, key, value, grid, size, extra), plain)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.integers(0, 3))
def test_patches_see_their_window_and_the_extra_tokens_only(height, width, size, extra):
    query, key, value = _tokens((height, width), extra)
    place = torch.arange(height * width)
    row, column = place // width // size, place % width // size
    allowed = torch.ones(extra + len(place), extra + len(place), dtype=torch.bool)
    allowed[extra:, extra:] = (row[:, None] == row) & (column[:, None] == column)
    expected = F.scaled_dot_product_attention(query, key, value, allowed)
    torch.testing.assert_close(window_attention(query, key, value, (height, width), size, extra), expected)


def test_gradients():
    tokens = [one.requires_grad_() for one in _tokens((3, 5), batch=1)]
    assert torch.autograd.gradcheck(lambda *qkv: window_attention(*qkv, (3, 5), 2, 1), tokens)
