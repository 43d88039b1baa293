"""The region selectors by their short names: which class each one is, what it reads, and what it costs.

Pure Python, so that command lines can check names without loading torch. A new selector is a class in
``models/necks`` and a row of :data:`SELECTORS` here.

Costs are counted in two ways. The paper's table (arXiv 2407.12891; counted as the authors' ``tools/calc_flops.py`` of
github.com/arkel23/GLSim does) serves to compare with the literature. It differs from what a machine does:

* TransFG (PSM) and AF-Trans (SACM) are counted with overlapping patches (stride P - 4: 324 patches at 224 px where the
  others have 196), because their papers use them; the same selectors on the encoder's own patches cost less.
* Selectors are counted in FLOPs, the encoder in multiply-adds, of which each is 2 FLOPs (but for its patch embedding).
* Attention matrices are taken for granted. A fused attention never makes them, so whoever wants them pays 2 S^2 C FLOPs
  and H S^2 numbers per layer for it.
* Rollout and PSM are counted, and written by their authors, as products of whole S x S matrices, of which one row is
  used; the row alone costs S times less.
* GLS is counted without the additions of its dot products and norms.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, NamedTuple

from .errors import GLSimError


class EncoderShape(NamedTuple):
    """What the cost of a plain ViT depends on; its MLPs have the ratio 4.

    Attributes:
        num_layers: Transformer layers L.
        num_heads: Heads H per layer.
        embed_dims: Channels C, a multiple of ``num_heads``.
        patch_size: Side P of a patch in pixels.

    Example::

        encoder_flops(197, EncoderShape(12, 6, 384, 16))  # ViT-S/16 at 224 px
    """

    num_layers: int
    num_heads: int
    embed_dims: int
    patch_size: int


VIT_BASE_P16 = EncoderShape(num_layers=12, num_heads=12, embed_dims=768, patch_size=16)


def count_tokens(image_size: int, patch_size: int, stride: int | None = None) -> int:
    """Tokens S = 1 + N that a ViT with a CLS token makes of a square image; sizes are sides in pixels.

    Patches overlap where the ``stride`` is smaller than they are; pixels that no whole patch covers are left out. An
    image smaller than a patch is a ``ValueError``.
    """
    if image_size < patch_size:
        raise ValueError(f'an image of {image_size} pixels is smaller than one patch of {patch_size}')
    return 1 + ((image_size - patch_size) // (stride or patch_size) + 1) ** 2


def published_encoder_operations(image_size: int, shape: EncoderShape = VIT_BASE_P16, num_classes: int = 200) -> int:
    """Operations per square image of a plain ViT as the paper's percentages of the backbone need them.

    These are multiply-adds, but two operations for each of the patch embedding's.
    """
    tokens, dims = count_tokens(image_size, shape.patch_size), shape.embed_dims
    layer = 12 * tokens * dims**2 + 2 * tokens**2 * dims
    patch_embedding = 2 * (tokens - 1) * dims * 3 * shape.patch_size**2
    return patch_embedding + shape.num_layers * layer + dims * num_classes


def encoder_flops(num_tokens: int, shape: EncoderShape = VIT_BASE_P16) -> int:
    """FLOPs per image of one pass of a plain ViT over S tokens: its matrix products, two for each multiply-add.

    Softmax, norms, biases and activations, less than 1 % of it, are left out.
    """
    dims = shape.embed_dims
    layer = 12 * num_tokens * dims**2 + 2 * num_tokens**2 * dims
    return 2 * (shape.num_layers * layer + (num_tokens - 1) * dims * 3 * shape.patch_size**2)


def attention_matrix_flops(num_tokens: int, shape: EncoderShape = VIT_BASE_P16) -> int:
    """FLOPs per image of one layer's attention matrices: 2 S^2 C for scaled products and H S (4 S - 1) for softmax."""
    return _attention(num_tokens, num_tokens, shape)


def _product(rows: int, inner: int, columns: int) -> int:
    """Product of a rows x inner and an inner x columns matrix."""
    return rows * columns * (2 * inner - 1)


def _softmax(length: int) -> int:
    """Shift, exponential, sum, quotient; finding the maximum takes comparisons only."""
    return 4 * length - 1


def _attention(queries: int, keys: int, shape: EncoderShape) -> int:
    """Softmaxed, scaled products of some queries with some keys, all heads; softmax over the keys."""
    products = _product(queries, shape.embed_dims // shape.num_heads, keys) + queries * keys
    return shape.num_heads * (products + queries * _softmax(keys))


def _gls(tokens: int, shape: EncoderShape) -> int:
    dot = _product(1, shape.embed_dims, 1)
    # Norm of the CLS token once; per patch a dot product, a norm, the product of norms and a quotient.
    return (dot + 1) + (tokens - 1) * (2 * dot + 3)


def _class_attention(tokens: int, shape: EncoderShape) -> int:
    return _attention(1, tokens, shape) + (tokens - 1) * shape.num_heads


def _maws(tokens: int, shape: EncoderShape) -> int:
    # The column is softmaxed over queries, so it costs what a row costs.
    return 2 * _class_attention(tokens, shape) + tokens - 1


def _rollout(tokens: int, shape: EncoderShape) -> int:
    head_average = shape.num_heads * tokens**2
    row = _product(1, tokens, tokens) + 3 * tokens  # 0.5 v A + 0.5 v
    return shape.num_layers * (attention_matrix_flops(tokens, shape) + head_average + row)


def _psm(tokens: int, shape: EncoderShape) -> int:
    rows = (shape.num_layers - 1) * shape.num_heads * _product(1, tokens, tokens)
    head_sum = (shape.num_heads - 1) * (tokens - 1)
    return shape.num_layers * attention_matrix_flops(tokens, shape) + rows + head_sum


def _sacm(tokens: int, shape: EncoderShape) -> int:
    # Per entry the logarithms' mean over heads and its exponential, then the layer's mean; layers are weighed, summed.
    layer = attention_matrix_flops(tokens, shape) + (2 * shape.num_heads + 2) * tokens**2
    return shape.num_layers * layer + (2 * shape.num_layers - 1) * tokens


def _published_gls(tokens: int, shape: EncoderShape) -> int:
    # Per patch the products of dot product and norms, two roots, a sum and a quotient.
    return (tokens - 1) * (3 * shape.embed_dims + 3)


def _published_maws(tokens: int, shape: EncoderShape) -> int:
    # Column softmax, two head averages and their product, in every layer but the last.
    return (shape.num_layers - 1) * (5 * tokens * shape.num_heads + 2 * shape.num_heads + tokens)


def _published_sacm(tokens: int, shape: EncoderShape) -> int:
    # Product over heads, average of it, squeeze-and-excitation over layers.
    layers, square = shape.num_layers, tokens * tokens
    return layers * (shape.num_heads - 1) * square + square + 1 + 6 * layers + layers * (tokens - 1)


def _published_rollout(tokens: int, shape: EncoderShape) -> int:
    # Head average, identity, normalisation; then products of the layers.
    layers, square = shape.num_layers, tokens * tokens
    return layers * (shape.num_heads * square + square + tokens + 1) + (layers - 1) * _product(tokens, tokens, tokens)


def _published_psm(tokens: int, shape: EncoderShape) -> int:
    return (shape.num_layers - 2) * shape.num_heads * _product(tokens, tokens, tokens)


@dataclass(frozen=True)
class Selector:
    """A row of :data:`SELECTORS`.

    Attributes:
        type: Class in mmpretrain's registry of models.
        reads: What the scores are made of: ``'tokens'``, ``'attention'``, the annotated ``'boxes'``, or ``'nothing'``.
        settings: Arguments of the class.
        flops: FLOPs per image that this package's way needs beside a fused encoder pass, from tokens S and encoder.
            None if there is no count.
        published_flops: The paper's count. None for what it does not list.
        has_overlap: The paper counts overlapping patches.
        note: What the paper's count leaves out, or how ours differs.

    Example::

        SELECTORS['gls'].config  # dict(type='GLSimSelector', similarity='cos')
    """

    type: str
    reads: str
    settings: dict[str, Any] = field(default_factory=dict)
    flops: Callable[[int, EncoderShape], int] | None = None
    published_flops: Callable[[int, EncoderShape], int] | None = None
    has_overlap: bool = False
    note: str = ''

    @property
    def config(self) -> dict[str, Any]:
        """Config of the selector, for ``model.neck``."""
        return dict(type=self.type, **self.settings)


SELECTORS = {
    'gls': Selector(
        'GLSimSelector', 'tokens', dict(similarity='cos'), _gls, _published_gls,
        note='the paper leaves out the additions of dot products and norms.',
    ),
    'gls-l1': Selector('GLSimSelector', 'tokens', dict(similarity='l1')),
    'gls-l2': Selector('GLSimSelector', 'tokens', dict(similarity='l2')),
    'class-attention': Selector(
        'ClassAttentionSelector', 'attention', flops=_class_attention,
        note='not in the paper; ours makes one row of the last layer from queries and keys.',
    ),
    'maws': Selector(
        'MAWSSelector', 'attention', flops=_maws, published_flops=_published_maws,
        note='the paper takes logits as given, and 11 of 12 layers; ours makes one row and one column of the last.',
    ),
    'sacm': Selector(
        'SACMSelector', 'attention', flops=_sacm, published_flops=_published_sacm, has_overlap=True,
        note='the paper counts overlapping patches (stride P - 4), more tokens than here, but not making the matrices.',
    ),
    'rollout': Selector(
        'RolloutSelector', 'attention', flops=_rollout, published_flops=_published_rollout,
        note='the paper counts products of whole matrices, but not making them; ours runs one row through them.',
    ),
    'psm': Selector(
        'PSMSelector', 'attention', flops=_psm, published_flops=_published_psm, has_overlap=True,
        note='as rollout, for every head; the paper counts overlapping patches (stride P - 4), more tokens than here.',
    ),
    'random': Selector('RandomSelector', 'nothing'),
    'center': Selector('CenterSelector', 'nothing'),
    'oracle': Selector('OracleSelector', 'boxes'),
}  # fmt: skip
"""Selectors that need no training of their own, by the names that command lines, tables and configs use."""


def check_selectors(names: Iterable[str], known: Iterable[str] = SELECTORS) -> None:
    """Refuse an empty list of names, and names that are not known."""
    names, known = list(names), list(known)
    if not names:
        raise GLSimError(f'name one or more selectors: {", ".join(known)}')
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f'did you mean {close[0]}?' if close else f'choose from {", ".join(known)}'
            raise GLSimError(f'there is no selector {name!r}; {hint}')


def selection_flops(name: str, num_tokens: int, shape: EncoderShape = VIT_BASE_P16) -> int | None:
    """FLOPs per image that this package's way of selecting needs beside a fused encoder pass over S tokens.

    Additions, multiplications, quotients, roots and exponentials count one each. Attention matrices are paid for, one
    row vector runs through them, and MAWS makes one row and one column of the last layer's. None without a formula.
    """
    count = SELECTORS[name].flops
    return None if count is None else count(num_tokens, shape)


def published_selection_flops(name: str, image_size: int, shape: EncoderShape = VIT_BASE_P16) -> int | None:
    """FLOPs per square image of a selector as the GLSim paper's table counts them; None if it is not listed there.

    See above for what they leave out.
    """
    row = SELECTORS[name]
    if row.published_flops is None:
        return None
    stride = max(shape.patch_size - 4, 1) if row.has_overlap else shape.patch_size
    return row.published_flops(count_tokens(image_size, shape.patch_size, stride), shape)
