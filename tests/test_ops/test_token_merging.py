import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glsim_mm.ops import merge_alike_tokens


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 30), st.integers(0, 40), st.integers(0, 2**31 - 1))
def test_patches_are_kept_in_number_and_in_sum(batch, count, leaving, seed):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(batch, count, 5, generator=generator, dtype=torch.float64)
    sizes = torch.randint(1, 5, (batch, count), generator=generator).double()
    merged, merged_sizes = merge_alike_tokens(tokens, sizes, tokens, leaving)
    assert merged.shape == (batch, count - min(leaving, count // 2), 5)
    torch.testing.assert_close(merged_sizes.sum(1), sizes.sum(1))
    torch.testing.assert_close(
        (merged * merged_sizes[..., None]).sum(1), (tokens * sizes[..., None]).sum(1), atol=1e-9, rtol=1e-9
    )


def test_the_most_alike_merge_first():
    tokens = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [0.9, 0.1]]])
    merged, sizes = merge_alike_tokens(tokens, torch.ones(1, 4), tokens, 1)
    assert sizes.tolist() == [[1.0, 1.0, 2.0]]
    torch.testing.assert_close(merged[0, 2], torch.tensor([0.95, 0.1]))
    torch.testing.assert_close(merged[0, :2], tokens[0, :2])


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_stays(dtype):
    tokens = torch.randn(2, 6, 4).to(dtype)
    merged, sizes = merge_alike_tokens(tokens, torch.ones(2, 6), tokens, 2)
    assert merged.dtype == dtype and sizes.dtype == torch.float32
