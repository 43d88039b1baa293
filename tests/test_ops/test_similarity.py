import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from glsim_mm.ops import SIMILARITIES, global_local_similarity, selection_scores, top_patches


@pytest.mark.parametrize('similarity', SIMILARITIES)
def test_equals_torch_on_each_pair(similarity):
    g, patches = torch.randn(3, 8), torch.randn(3, 5, 8)
    values = global_local_similarity(g, patches, similarity)
    measures = {'cos': lambda a, b: F.cosine_similarity(a, b, dim=0), 'l1': F.l1_loss, 'l2': F.mse_loss}
    for i in range(3):
        for j in range(5):
            assert values[i, j] == pytest.approx(measures[similarity](g[i], patches[i, j]).item(), abs=1e-6)


@pytest.mark.parametrize('similarity', SIMILARITIES)
def test_the_identical_patch_is_always_best(similarity):
    g = torch.randn(4, 16)
    patches = torch.randn(4, 9, 16)
    patches[:, 6] = g
    scores = selection_scores(global_local_similarity(g, patches, similarity), similarity)
    assert top_patches(scores, 1).flatten().tolist() == [6] * 4


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    g, patches = torch.randn(2, 32).to(dtype), torch.randn(2, 7, 32).to(dtype)
    for similarity in SIMILARITIES:
        values = global_local_similarity(g, patches, similarity)
        assert values.dtype == torch.float32
        assert torch.equal(values, global_local_similarity(g.float(), patches.float(), similarity))


@given(st.integers(1, 40), st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_top_patches_takes_o_distinct_best(num_patches, top_o):
    scores = torch.randn(2, num_patches)
    indices = top_patches(scores, top_o)
    assert indices.shape == (2, min(top_o, num_patches))
    for row, chosen in zip(scores, indices):
        assert len(set(chosen.tolist())) == len(chosen)
        rest = torch.ones(num_patches, dtype=torch.bool)
        rest[chosen] = False
        if rest.any():
            assert row[chosen].min() >= row[rest].max()


def test_zero_tokens_give_finite_cosine():
    assert torch.isfinite(global_local_similarity(torch.zeros(1, 4), torch.zeros(1, 3, 4))).all()


def test_unknown_similarity():
    with pytest.raises(ValueError, match='cos, l1, l2'):
        global_local_similarity(torch.zeros(1, 2), torch.zeros(1, 1, 2), 'dot')
    with pytest.raises(ValueError, match='dot'):
        selection_scores(torch.zeros(1, 2), 'dot')
