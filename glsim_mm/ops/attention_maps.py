"""Scores of patches from a ViT's attention: what peers of GLSim select regions with.

A layer's attention enters as queries and keys, which a fused attention reads, and not as its S x S matrix, which it
never makes. Scores that need one row or column of the matrix are computed without it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class AttentionInputs(NamedTuple):
    """What one attention layer multiplies.

    Attributes:
        queries: (B, heads, S, d), any float dtype; S = leading tokens + N patches, CLS token first.
        keys: (B, heads, S, d).
        bias: Added to the logits, broadcastable to (B, heads, S, S).
        scale: Multiplies the products of queries and keys, usually ``d ** -0.5``.

    Example::

        class_attention(AttentionInputs(queries, keys, None, 64**-0.5), num_extra_tokens=1)  # (B, N)
    """

    queries: Tensor
    keys: Tensor
    bias: Tensor | None
    scale: float


def attention_matrix(inputs: AttentionInputs) -> Tensor:
    """Attention weights of a layer, float32 (B, heads, S, S); rows sum to 1."""
    return _logits(inputs, slice(None), slice(None)).softmax(dim=-1)


def class_attention(inputs: AttentionInputs, num_extra_tokens: int) -> Tensor:
    """How much the CLS token attends to each patch, mean over heads, float32 (B, N) in [0, 1].

    It needs one row of the layer's matrix, O(S d).
    """
    row = _logits(inputs, slice(1), slice(None)).softmax(dim=-1)
    return row[:, :, 0, num_extra_tokens:].mean(dim=1)


def mutual_attention(inputs: AttentionInputs, num_extra_tokens: int) -> Tensor:
    """What CLS attends to and what attends to CLS, float32 (B, N) in [0, 1]: MAWS of FFVT (arXiv 2107.02341).

    The CLS row, normalised over keys, times the CLS column, normalised over queries, each averaged over heads before.
    It needs one row and one column of the layer's matrix, O(S d).
    """
    column = _logits(inputs, slice(None), slice(1)).softmax(dim=-2)[:, :, num_extra_tokens:, 0].mean(dim=1)
    return class_attention(inputs, num_extra_tokens) * column


def attention_rollout(matrices: Sequence[Tensor], num_extra_tokens: int) -> Tensor:
    """Attention rollout (arXiv 2005.00928), with which RAMS-Trans and DCAL select regions, float32 (B, N) in [0, 1].

    Heads are averaged, the identity is mixed in for the residual connection, 0.5 A + 0.5 I, and the layers are
    multiplied. Only the CLS row of the product is wanted, so a row vector runs from the last layer to the first: the
    same numbers in O(L S^2) in place of O(L S^3).

    Args:
        matrices: Attention weights (B, heads, S, S) of each layer, at least one, first layer first.
        num_extra_tokens: Tokens before the first patch token, >= 1.
    """
    row: Tensor | None = None
    for index in reversed(range(len(matrices))):
        attention = matrices[index].mean(dim=1)
        if row is None:
            row = torch.zeros_like(attention[:, :1])
            row[..., 0] = 1
        # v (0.5 A + 0.5 I) without making the sum; rows of A sum to 1, so no renormalisation is left to do.
        row = 0.5 * _matmul(row, attention) + 0.5 * row
    return _checked(row)[:, 0, num_extra_tokens:]


def head_products(matrices: Sequence[Tensor], num_extra_tokens: int) -> Tensor:
    """CLS row of the product of all layers' attention, head by head, float32 (B, heads, N) in [0, 1].

    This is PSM of TransFG (arXiv 2103.07976), which takes each head's best patch; the sum over heads is a score for
    :func:`top_patches`. See :func:`attention_rollout` for the row vector and the arguments.
    """
    row: Tensor | None = None
    for index in reversed(range(len(matrices))):
        attention = matrices[index]
        row = attention[:, :, :1] if row is None else _matmul(row, attention)
    return _checked(row)[:, :, 0, num_extra_tokens:]


def selective_attention(matrices: Sequence[Tensor], num_extra_tokens: int) -> Tensor:
    """Where the heads of each layer agree, summed over layers, float32 (B, N) in [0, 1]: SACM without parameters.

    AF-Trans (arXiv 2110.01240) multiplies the attention of a layer's heads element by element, squeezes each layer's
    S x S product to its mean, turns the means into a weight per layer by two linear layers, as squeeze-and-excitation
    does, and weighs the layers' CLS rows; so GLSim's authors describe it in ``tools/calc_flops.py``
    (github.com/arkel23/GLSim), from which this is written. It differs in two points:

    * The weight of a layer is its mean divided by the sum of the means. Cropping carries no gradient, so linear layers
      between attention and crop could not learn.
    * The product of H heads is brought back to the scale of one attention by its H-th root. Within a layer the patches
      rank the same; without it, 12 heads that attend evenly to 197 tokens give 3e-28, and one layer drowns all others.

    The mean of a layer is large where its heads attend to the same tokens, so such layers weigh more. See
    :func:`attention_rollout` for the arguments.
    """
    rows, means = [], []
    for index in range(len(matrices)):
        agreement = matrices[index].float().log().mean(dim=1).exp()
        rows.append(agreement[:, 0, num_extra_tokens:])
        means.append(agreement.mean(dim=(1, 2)))
    if not rows:
        raise ValueError('attention of at least one layer is needed')
    weights = torch.stack(means, dim=1)
    weights = weights / weights.sum(dim=1, keepdim=True)
    return (torch.stack(rows, dim=1) * weights[:, :, None]).sum(dim=1)


def _logits(inputs: AttentionInputs, rows: slice, columns: slice) -> Tensor:
    """The wanted part of the logits, float32 (B, heads, rows, columns)."""
    products = _matmul(inputs.queries[:, :, rows].float(), inputs.keys[:, :, columns].float().transpose(-2, -1))
    logits = products * inputs.scale
    if inputs.bias is None:
        return logits
    sizes = inputs.queries.shape[-2], inputs.keys.shape[-2]
    return logits + inputs.bias.float().expand(*inputs.bias.shape[:-2], *sizes)[..., rows, columns]


def _matmul(a: Tensor, b: Tensor) -> Tensor:
    """Product in float32: autocast would lower it, and bfloat16 cannot rank patches."""
    with torch.autocast(device_type=a.device.type, enabled=False):
        return a.float() @ b.float()


def _checked(row: Tensor | None) -> Tensor:
    if row is None:
        raise ValueError('attention of at least one layer is needed')
    return row
