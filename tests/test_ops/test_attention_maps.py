import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glsim_mm.ops import (
    AttentionInputs,
    attention_matrix,
    attention_rollout,
    class_attention,
    head_products,
    mutual_attention,
    selective_attention,
)

PARITY = 1e-5


def random_layers(layers=3, batch=2, heads=2, patches=5, extra=1, width=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = batch, heads, extra + patches, width
    return [
        AttentionInputs(torch.randn(shape, generator=generator), torch.randn(shape, generator=generator), None, 0.5)
        for _ in range(layers)
    ]


def full_product(matrices):
    """All layers multiplied, the last layer first; the textbook form."""
    product = matrices[0]
    for matrix in matrices[1:]:
        product = matrix @ product
    return product


@pytest.fixture
def golden(shared_root):
    with np.load(shared_root / 'golden' / 'selectors_96px.npz', allow_pickle=False) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def test_rollout_and_head_products_give_the_golden_numbers(golden):
    matrices = list(golden['attention_softmax'].unbind(dim=1))
    torch.testing.assert_close(attention_rollout(matrices, 1), golden['rollout'], atol=PARITY, rtol=0)
    torch.testing.assert_close(head_products(matrices, 1).sum(dim=1), golden['psm_head_sum'], atol=PARITY, rtol=0)


def test_row_and_column_scores_give_the_golden_numbers(golden):
    """Queries that are the logits and keys that are the identity multiply to the golden logits."""
    logits = golden['attention_logits_last']
    inputs = AttentionInputs(logits, torch.eye(logits.shape[-1]).expand_as(logits), None, 1.0)
    torch.testing.assert_close(attention_matrix(inputs), golden['attention_softmax'][:, -1], atol=PARITY, rtol=0)
    torch.testing.assert_close(class_attention(inputs, 1), golden['attention_last'], atol=PARITY, rtol=0)
    torch.testing.assert_close(mutual_attention(inputs, 1), golden['maws_last'], atol=PARITY, rtol=0)


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 6), st.integers(1, 5), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_row_vectors_equal_full_matrix_products(layers, heads, patches, extra, seed):
    matrices = [attention_matrix(layer) for layer in random_layers(layers, 2, heads, patches, extra, seed=seed)]
    eye = torch.eye(extra + patches)
    rolled = full_product([0.5 * matrix.mean(dim=1) + 0.5 * eye for matrix in matrices])
    torch.testing.assert_close(attention_rollout(matrices, extra), rolled[:, 0, extra:])
    torch.testing.assert_close(head_products(matrices, extra), full_product(matrices)[:, :, 0, extra:])


@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 5), st.booleans(), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_row_and_column_scores_equal_the_matrix(heads, patches, extra, with_bias, seed):
    (layer,) = random_layers(1, 2, heads, patches, extra, seed=seed)
    if with_bias:
        layer = layer._replace(bias=torch.randn(heads, extra + patches, extra + patches))
    logits = layer.queries @ layer.keys.transpose(-2, -1) * layer.scale + (0 if layer.bias is None else layer.bias)
    torch.testing.assert_close(attention_matrix(layer), logits.softmax(dim=-1))
    row = logits.softmax(dim=-1).mean(dim=1)[:, 0, extra:]
    column = logits.softmax(dim=-2).mean(dim=1)[:, extra:, 0]
    torch.testing.assert_close(class_attention(layer, extra), row)
    torch.testing.assert_close(mutual_attention(layer, extra), row * column)


def test_bias_that_is_broadcast_over_rows_masks_keys():
    (layer,) = random_layers(1, patches=4)
    mask = torch.tensor([0.0, 0.0, float('-inf'), 0.0, 0.0])
    scores = class_attention(layer._replace(bias=mask.view(1, 1, 1, 5)), 1)
    assert (scores[:, 1] == 0).all() and (scores[:, [0, 2, 3]] > 0).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    layers = [AttentionInputs(q.to(dtype), k.to(dtype), None, s) for q, k, _, s in random_layers()]
    wide = [AttentionInputs(q.float(), k.float(), None, s) for q, k, _, s in layers]
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(mutual_attention(layers[0], 1), mutual_attention(wide[0], 1))
        matrices = [attention_matrix(layer) for layer in layers]
        assert attention_rollout(matrices, 1).dtype == torch.float32
        assert torch.equal(head_products(matrices, 1), head_products([attention_matrix(w) for w in wide], 1))


@pytest.mark.parametrize('function', [attention_rollout, head_products, selective_attention])
def test_no_layer_at_all(function):
    with pytest.raises(ValueError, match='at least one layer'):
        function([], 1)


def test_selective_attention_weighs_layers_by_the_agreement_of_their_heads():
    matrices = [attention_matrix(layer) for layer in random_layers(layers=2, batch=2, heads=3, extra=2)]
    agreement = [(m[:, 0] * m[:, 1] * m[:, 2]) ** (1 / 3) for m in matrices]
    means = [a.mean(dim=(1, 2)) for a in agreement]
    expected = sum(m[:, None] * a[:, 0, 2:] for m, a in zip(means, agreement)) / sum(means)[:, None]
    torch.testing.assert_close(selective_attention(matrices, 2), expected)


def test_selective_attention_neither_underflows_nor_keeps_what_one_head_masks():
    even = torch.full((1, 12, 400, 400), 1 / 400)
    torch.testing.assert_close(selective_attention([even, even], 1), torch.full((1, 399), 1 / 400))
    even[:, 5, :, 3] = 0.0
    scores = selective_attention([even], 1)
    assert scores[0, 2] == 0 and scores[0, 3] == pytest.approx(1 / 400)
