"""Attention-based selection as its authors' code does it: unfused attention, whole matrices and their whole products.

The scores are those of this package's selectors, which get them from fused attention and row vectors; see
:mod:`glsim_mm.models.necks.attention_selectors`. Here only for measuring what the difference costs.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class PublishedSelection(NamedTuple):
    """One selector.

    Attributes:
        keep: Makes of one layer's logits and attention weights, each (B, heads, S, S), what is kept of them.
        score: Makes of what was kept of all layers, and the number of tokens before the patches, scores (B, N).
    """

    keep: Callable[[Tensor, Tensor], Tensor | None]
    score: Callable[[list[Tensor], int], Tensor | None]


@contextmanager
def unfused_attention(keep: Callable[[Tensor, Tensor], Tensor | None]) -> Iterator[list[Tensor]]:
    """Compute every ``scaled_dot_product_attention`` in the block by way of its matrix.

    Args:
        keep: Gets logits and attention weights of each layer, (B, heads, S, S), returns what to keep.

    Yields:
        What was kept, first layer first; filled while the block runs.
    """
    kept: list[Tensor] = []
    with _UnfusedAttention(keep, kept):
        yield kept


class _UnfusedAttention(TorchFunctionMode):
    def __init__(self, keep: Callable[[Tensor, Tensor], Tensor | None], kept: list[Tensor]) -> None:
        super().__init__()
        self.keep = keep
        self.kept = kept

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self._attend(*args, **kwargs)
        return func(*args, **kwargs)

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        **kwargs: Any,
    ) -> Tensor:
        logits = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if attn_mask is not None:
            is_mask = attn_mask.dtype == torch.bool
            logits = logits.masked_fill(~attn_mask, float('-inf')) if is_mask else logits + attn_mask
        matrix = logits.softmax(dim=-1)
        kept = self.keep(logits, matrix)
        if kept is not None:
            self.kept.append(kept)
        return matrix @ value


def _keep_matrix(logits: Tensor, matrix: Tensor) -> Tensor:
    return matrix


def _keep_class_row(logits: Tensor, matrix: Tensor) -> Tensor:
    return matrix[:, :, 0].mean(dim=1)


def _keep_mutual_attention(logits: Tensor, matrix: Tensor) -> Tensor:
    """FFVT's order of work: both softmaxes of the whole matrix, one row and one column of them are read."""
    column = logits.softmax(dim=-2)[..., 0].mean(dim=1)
    return column * matrix[:, :, 0].mean(dim=1)


def _score_last_layer(kept: list[Tensor], num_extra_tokens: int) -> Tensor:
    return kept[-1][:, num_extra_tokens:]


def _score_rollout(matrices: list[Tensor], num_extra_tokens: int) -> Tensor:
    identity = torch.eye(matrices[0].shape[-1], device=matrices[0].device)
    joint = identity
    for index, matrix in enumerate(matrices):
        attention = matrix.mean(dim=1) + identity
        attention = attention / attention.sum(dim=-1, keepdim=True)
        joint = attention if index == 0 else attention @ joint
    return joint[:, 0, num_extra_tokens:]


def _score_psm(matrices: list[Tensor], num_extra_tokens: int) -> Tensor:
    joint = matrices[0]
    for matrix in matrices[1:]:
        joint = matrix @ joint
    return joint[:, :, 0, num_extra_tokens:].sum(dim=1)


PUBLISHED_SELECTIONS = {
    'class-attention': PublishedSelection(_keep_class_row, _score_last_layer),
    'maws': PublishedSelection(_keep_mutual_attention, _score_last_layer),
    'rollout': PublishedSelection(_keep_matrix, _score_rollout),
    'psm': PublishedSelection(_keep_matrix, _score_psm),
}
NO_SELECTION = PublishedSelection(lambda logits, matrix: None, lambda kept, num_extra_tokens: None)
"""Unfused attention alone."""
