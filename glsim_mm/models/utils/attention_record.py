"""What an encoder's attention layers computed, without taking fused attention away from it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ...errors import GLSimError
from ...ops import AttentionInputs, attention_matrix
from .token_layout import unwrap_encoder


class AttentionRecord(Sequence[Tensor]):
    """Queries and keys of an encoder's attention layers, first layer first.

    ``record[i]`` is the attention matrix of layer ``i``, float32 (B, heads, S, S), made on demand: who runs through the
    layers holds one matrix at a time. ``record.inputs[i]`` are its queries and keys.

    Example::

        with record_attention() as record:
            backbone(images)
        record[-1]  # attention of the last layer, (B, heads, S, S)
    """

    def __init__(self) -> None:
        self.inputs: list[AttentionInputs] = []

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [attention_matrix(layer) for layer in self.inputs[index]]
        return attention_matrix(self.inputs[index])


@contextmanager
def record_attention() -> Iterator[AttentionRecord]:
    """Record the self-attention of an encoder that runs in the block; the record fills meanwhile.

    Calls of ``scaled_dot_product_attention`` are seen on their way, so encoders stay as they are and keep their fused
    kernels. Every encoder that uses this function is served: GLSimViT, mmpretrain's ViTs, and timm's, also with
    normalised or rotated queries. What is recorded carries no gradient.
    """
    record = AttentionRecord()
    with _AttentionListener(record.inputs):
        yield record


def check_attention(record: AttentionRecord, backbone: nn.Module, tokens: Tensor, selector: str) -> None:
    """Refuse an encoder whose attention cannot be read, for the message by name of the selector that needs it.

    Every layer must have been recorded once, with attention over the tokens (B, S, C) that the encoder returned, but
    for the CLS tokens of earlier blocks (``class_token_blocks`` of :class:`TimmViT`).
    """
    encoder = unwrap_encoder(backbone)
    name, attended = type(encoder).__name__, tokens.shape[1] + 1 - getattr(encoder, 'class_token_blocks', 1)
    if len(record) != getattr(backbone, 'num_layers', max(len(record), 1)):
        raise GLSimError(
            f'{selector} needs the attention of every layer of {name}, which gave {len(record)}: its layers must use '
            'scaled_dot_product_attention once each (timm: fused attention switched on); or take GLSimSelector, which '
            'needs no attention.'
        )
    for layer in record.inputs:
        if layer.queries.shape != layer.keys.shape or layer.queries.shape[-2] != attended:
            raise GLSimError(
                f'{selector} needs attention from a CLS token to all patches, which {name} does not have: use an '
                'encoder with a CLS token and global attention, or GLSimSelector, which needs no attention.'
            )


class _AttentionListener(TorchFunctionMode):
    """Notes the arguments of every scaled dot-product attention."""

    def __init__(self, inputs: list[AttentionInputs]) -> None:
        super().__init__()
        self.inputs = inputs

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            self.inputs.append(read_arguments(*args, **kwargs))
        return func(*args, **kwargs)


def read_arguments(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **kwargs: Any,
) -> AttentionInputs:
    """Arguments of ``F.scaled_dot_product_attention`` as inputs of the pure functions."""
    bias = attn_mask
    if bias is not None and bias.dtype == torch.bool:
        bias = torch.zeros_like(bias, dtype=torch.float32).masked_fill(~bias, float('-inf'))
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    return AttentionInputs(query.detach(), key.detach(), None if bias is None else bias.detach(), scale)
