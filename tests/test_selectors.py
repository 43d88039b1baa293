"""The counts against the paper's printed digits, against counted arithmetic, and against torch's own counter."""

import math

import numpy as np
import pytest
import torch
from tiny_run import ROOT
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from glsim_mm.errors import GLSimError
from glsim_mm.models import GLSimViT
from glsim_mm.models.necks import build_selector
from glsim_mm.ops import AttentionInputs, attention_matrix, attention_rollout, head_products, mutual_attention
from glsim_mm.selectors import (
    SELECTORS,
    EncoderShape,
    attention_matrix_flops,
    check_selectors,
    count_tokens,
    encoder_flops,
    published_encoder_operations,
    published_selection_flops,
    selection_flops,
)

SIZES = (224, 448, 768, 1024)
PRINTED_MFLOPS = {
    'psm': ('8.2e+03', '6.2e+05', '1.5e+07', '9.1e+07'),
    'rollout': ('1.7e+02', '1.1e+04', '2.7e+05', '1.5e+06'),
    'maws': ('0.13', '0.53', '1.5', '2.7'),
    'sacm': ('14', '2.5e+02', '2.1e+03', '6.9e+03'),
    'gls': ('0.45', '1.8', '5.3', '9.4'),
}
PRINTED_PERCENT_OF_ENCODER = ('0.0026', '0.0023', '0.0018', '0.0014')
TINY = EncoderShape(num_layers=3, num_heads=2, embed_dims=6, patch_size=8)
TOKENS = 5


@pytest.mark.parametrize('selector', PRINTED_MFLOPS)
def test_the_papers_table_to_its_printed_digits(selector):
    computed = [f'{published_selection_flops(selector, size) / 1e6:.2g}' for size in SIZES]
    assert tuple(computed) == PRINTED_MFLOPS[selector]


@pytest.mark.parametrize('size, printed', zip(SIZES, PRINTED_PERCENT_OF_ENCODER))
def test_the_papers_percentages_to_their_printed_digits(size, printed):
    percent = 100 * published_selection_flops('gls', size) / published_encoder_operations(size)
    assert f'{percent:.4f}' == printed


def test_tokens_of_images_with_and_without_overlap():
    for size, patch, stride in ((224, 16, 16), (224, 16, 12), (448, 14, 14), (100, 16, 12), (16, 16, 12)):
        starts = [start for start in range(0, size, stride) if start + patch <= size]
        assert count_tokens(size, patch, stride) == 1 + len(starts) ** 2
    assert count_tokens(224, 16) == 197


def test_the_encoder_is_what_torch_counts():
    arch = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=128)
    model = GLSimViT(arch=arch, img_size=48, patch_size=8).eval()
    # The counter does not know the CPU's fused attention.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 48, 48))
    assert encoder_flops(37, EncoderShape(2, 2, 32, 8)) == counter.get_total_flops()


class Counted(float):
    """A number that counts the arithmetic done with it."""

    operations = 0

    def _count(self, value) -> 'Counted':
        Counted.operations += 1
        return Counted(value)

    def __add__(self, other):
        return self._count(float(self) + float(other))

    def __sub__(self, other):
        return self._count(float(self) - float(other))

    def __mul__(self, other):
        return self._count(float(self) * float(other))

    def __truediv__(self, other):
        return self._count(float(self) / float(other))

    def exp(self):
        return self._count(math.exp(self))

    def log(self):
        return self._count(math.log(self))

    def sqrt(self):
        return self._count(math.sqrt(self))


def random_numbers(*shape: int) -> np.ndarray:
    values = [Counted(value) for value in np.random.default_rng(0).normal(size=math.prod(shape))]
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array.reshape(shape)


def dot(a, b):
    total = a[0] * b[0]
    for x, y in zip(a[1:], b[1:]):
        total = total + x * y
    return total


def mean_over_first(array):
    total = array[0]
    for part in array[1:]:
        total = total + part
    return total / Counted(len(array))


def softmax(values):
    largest = max(values)
    powers = [(value - largest).exp() for value in values]
    total = powers[0]
    for power in powers[1:]:
        total = total + power
    return np.array([power / total for power in powers], dtype=object)


def scaled_products(queries, keys):
    return np.array([[dot(q, k) * Counted(0.5) for k in keys] for q in queries], dtype=object)


def matrices(queries, keys):
    """All heads of one layer, (H, S, S)."""
    return np.array(
        [[softmax(row) for row in scaled_products(queries[h], keys[h])] for h in range(len(queries))], dtype=object
    )


def row_times(row, matrix):
    return np.array([dot(row, matrix[:, column]) for column in range(matrix.shape[1])], dtype=object)


def compute_gls(queries, keys, tokens):
    def norm(token):
        return dot(token, token).sqrt()

    cls_norm = norm(tokens[0])
    return [dot(tokens[0], patch) / (cls_norm * norm(patch)) for patch in tokens[1:]]


def compute_class_attention(queries, keys, tokens):
    rows = [softmax(scaled_products(queries[-1, h, :1], keys[-1, h])[0]) for h in range(TINY.num_heads)]
    return mean_over_first(np.array(rows, dtype=object)[:, 1:])


def compute_maws(queries, keys, tokens):
    columns = [softmax(scaled_products(queries[-1, h], keys[-1, h, :1])[:, 0]) for h in range(TINY.num_heads)]
    return compute_class_attention(queries, keys, tokens) * mean_over_first(np.array(columns, dtype=object)[:, 1:])


def compute_rollout(queries, keys, tokens):
    row = np.array([Counted(i == 0) for i in range(TOKENS)], dtype=object)
    for layer in reversed(range(TINY.num_layers)):
        attention = mean_over_first(matrices(queries[layer], keys[layer]))
        row = row_times(row, attention) * Counted(0.5) + row * Counted(0.5)
    return row[1:]


def compute_psm(queries, keys, tokens):
    rows = None
    for layer in reversed(range(TINY.num_layers)):
        attention = matrices(queries[layer], keys[layer])
        heads = range(TINY.num_heads)
        rows = attention[:, 0] if rows is None else [row_times(rows[h], attention[h]) for h in heads]
    return sum_heads(np.array(rows, dtype=object)[:, 1:])


def compute_sacm(queries, keys, tokens):
    rows, means = [], []
    for layer in range(TINY.num_layers):
        attention = matrices(queries[layer], keys[layer])
        logarithms = np.array([[[value.log() for value in row] for row in head] for head in attention], dtype=object)
        agreement = np.array([[value.exp() for value in row] for row in mean_over_first(logarithms)], dtype=object)
        rows.append(agreement[0, 1:])
        means.append(mean_over_first(agreement.reshape(-1)))
    total = sum_heads(means)
    return sum_heads([row * (mean / total) for row, mean in zip(rows, means)])


def sum_heads(rows):
    total = rows[0]
    for row in rows[1:]:
        total = total + row
    return total


COMPUTE = {
    'gls': compute_gls,
    'class-attention': compute_class_attention,
    'maws': compute_maws,
    'rollout': compute_rollout,
    'psm': compute_psm,
    'sacm': compute_sacm,
}


@pytest.mark.parametrize('selector', COMPUTE)
def test_selectors_cost_what_counted_arithmetic_costs(selector):
    head_dims = TINY.embed_dims // TINY.num_heads
    queries = random_numbers(TINY.num_layers, TINY.num_heads, TOKENS, head_dims)
    keys = random_numbers(TINY.num_layers, TINY.num_heads, TOKENS, head_dims)[..., ::-1]
    tokens = random_numbers(TOKENS, TINY.embed_dims)
    Counted.operations = 0
    COMPUTE[selector](queries, keys, tokens)
    assert selection_flops(selector, TOKENS, TINY) == Counted.operations


def test_one_layers_matrices_cost_what_counted_arithmetic_costs():
    shape = (TINY.num_heads, TOKENS, TINY.embed_dims // TINY.num_heads)
    queries, keys = random_numbers(*shape), random_numbers(*shape)
    Counted.operations = 0
    matrices(queries, keys)
    assert attention_matrix_flops(TOKENS, TINY) == Counted.operations


def products_of_ops(selector: str, tokens: int, shape: EncoderShape) -> int:
    """FLOPs of the matrix products that this package's functions execute, as torch counts them."""
    size = (1, shape.num_heads, tokens, shape.embed_dims // shape.num_heads)
    layers = [AttentionInputs(torch.randn(size), torch.randn(size), None, 0.1) for _ in range(shape.num_layers)]
    with FlopCounterMode(display=False) as counter:
        if selector == 'maws':
            mutual_attention(layers[-1], 1)
        else:
            matrices = [attention_matrix(layer) for layer in layers]
            dict(rollout=attention_rollout, psm=head_products)[selector](matrices, 1)
    return counter.get_total_flops()


@pytest.mark.parametrize('selector', ['maws', 'rollout', 'psm'])
def test_the_packages_functions_execute_the_counted_products(selector):
    """No product is hidden from the count: what is counted beyond products is softmax and averages, a few percent."""
    shape, tokens = EncoderShape(4, 2, 256, 16), 65
    counted, executed = selection_flops(selector, tokens, shape), products_of_ops(selector, tokens, shape)
    assert executed < counted < 1.1 * executed


def test_a_row_in_place_of_whole_products_saves_a_factor_of_the_tokens():
    tokens = count_tokens(448, 16)
    assert selection_flops('psm', tokens) < 0.05 * published_selection_flops('psm', 448)
    assert selection_flops('rollout', tokens) > published_selection_flops('rollout', 448)  # the paper's has no matrices


def test_the_table_says_what_the_classes_read():
    for name, row in SELECTORS.items():
        selector = build_selector(name)
        reads = {'attention': selector.needs_attention, 'boxes': selector.needs_boxes}
        assert reads == {kind: row.reads == kind for kind in reads}
        assert type(selector).__name__ == row.type and set(row.settings) <= set(vars(selector))
    assert {name for name, row in SELECTORS.items() if row.flops} == set(COMPUTE)
    assert {name for name, row in SELECTORS.items() if row.published_flops} == set(PRINTED_MFLOPS)


def test_the_documentation_names_every_selector():
    text = (ROOT / 'docs' / 'reference' / 'region_selection.md').read_text(encoding='utf-8')
    missing = [name for name in SELECTORS if f'`{name}`' not in text]
    assert not missing


def test_unknown_selectors_and_small_images():
    assert published_selection_flops('class-attention', 224) is None and selection_flops('random', 197) is None
    with pytest.raises(ValueError, match='smaller than one patch'):
        published_selection_flops('psm', 8)
    with pytest.raises(GLSimError, match="no selector 'mawz'; did you mean maws"):
        check_selectors(['gls', 'mawz'])
    with pytest.raises(GLSimError, match='choose from gls'):
        check_selectors(['xxxxxx'])
    with pytest.raises(GLSimError, match='name one or more selectors: gls'):
        check_selectors([])
