"""The encoders of TransFG and FFVT, whose last layer sees only the CLS token and selected tokens."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from mmpretrain.registry import MODELS
from torch import Tensor

from ...errors import GLSimError
from ...ops import head_products, mutual_attention
from ..utils import AttentionRecord, record_attention
from .glsim_vit import GLSimViT


class TokenSelectionViT(GLSimViT):
    """Base class: a ViT whose last layer runs on a sequence that :meth:`fuse` makes from the layers before.

    Parameters and arguments are those of :class:`GLSimViT`, so ViT checkpoints load unchanged. Selecting carries no
    gradient; the selected tokens do. ``out_type`` is ``'cls_token'`` or ``'raw'``, the fused sequence. Patches overlap
    with ``patch_cfg=dict(stride=12, padding=0)``.

    Raises:
        ValueError: If there are fewer than two layers, or ``out_type`` or ``out_indices`` ask for patches or layers
            that the fused sequence does not have.
    """

    def __init__(self, *args, out_type: str = 'cls_token', **kwargs) -> None:
        super().__init__(*args, out_type=out_type, **kwargs)
        if out_type not in ('cls_token', 'raw'):
            raise ValueError(f"out_type must be 'cls_token' or 'raw', got {out_type!r}")
        if self.num_layers < 2:
            raise ValueError(f'at least two layers are needed, got {self.num_layers}')
        if list(self.out_indices) != [self.num_layers - 1]:
            raise ValueError(f'only the last layer can be returned, got out_indices={self.out_indices}')

    @abstractmethod
    def fuse(self, hidden: Sequence[Tensor], record: AttentionRecord) -> Tensor:
        """Sequence (B, 1 + K, C) for the last layer, the last hidden CLS token first.

        ``hidden`` are the outputs (B, 1 + N, C) of the layers before the last, first layer first, ``record`` is their
        attention.
        """

    def _encode(self, images: Tensor, cls_token: Tensor, output: str = 'tokens') -> tuple[Tensor, ...]:
        x, grid = self._embed(images, cls_token)
        *inner, last = self.layers
        hidden = []
        with record_attention() as record:
            for layer in inner:
                x = self._run(layer, x)
                hidden.append(x)
        x = self._run(last, self.fuse(hidden, record))
        if self.final_norm:
            x = self.ln1(x)
        return (self._format_output(x, grid),)


def gather_tokens(tokens: Tensor, indices: Tensor) -> Tensor:
    """Tokens (B, K, C) at positions, int64 (B, K), of a sequence (B, S, C)."""
    return tokens.gather(1, indices[:, :, None].expand(-1, -1, tokens.shape[-1]))


@MODELS.register_module()
class PartSelectionViT(TokenSelectionViT):
    """ViT with TransFG's part selection module (arXiv 2103.07976).

    Head by head, the attention of all layers before the last is multiplied, and the patch with the largest weight in
    the product's CLS row is selected. CLS and these patches, one per head and with repetition where heads agree, are
    the input of the last layer. See :class:`TokenSelectionViT` for arguments.

    Example::

        backbone=dict(type='PartSelectionViT', arch='vit-base', patch_cfg=dict(stride=12, padding=0))
    """

    def fuse(self, hidden: Sequence[Tensor], record: AttentionRecord) -> Tensor:
        """CLS and each head's patch, (B, 1 + heads, C); see the parent."""
        tokens = hidden[-1]
        with torch.no_grad():
            indices = head_products(record, self.num_extra_tokens).argmax(dim=-1) + self.num_extra_tokens
        return torch.cat((tokens[:, :1], gather_tokens(tokens, indices)), dim=1)


@MODELS.register_module()
class FeatureFusionViT(TokenSelectionViT):
    """ViT that fuses tokens of every layer, FFVT (arXiv 2107.02341).

    In each layer before the last, the patches with the largest mutual attention weights (MAWS) are selected. CLS and
    these tokens, ordered by layer and weight, are the input of the last layer.

    Args:
        *args: Arguments of :class:`TokenSelectionViT`.
        tokens_per_layer: Number K of patches from each layer, >= 1.
        **kwargs: Keyword arguments of :class:`TokenSelectionViT`.

    Example::

        backbone=dict(type='FeatureFusionViT', arch='vit-base', tokens_per_layer=12)
    """

    def __init__(self, *args, tokens_per_layer: int = 12, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if tokens_per_layer < 1:
            raise ValueError(f'tokens_per_layer must be at least 1, got {tokens_per_layer}')
        self.tokens_per_layer = tokens_per_layer

    def fuse(self, hidden: Sequence[Tensor], record: AttentionRecord) -> Tensor:
        """CLS and K patches of each layer, (B, 1 + K (L - 1), C), of images with at least K patches; see the parent."""
        num_patches = hidden[-1].shape[1] - self.num_extra_tokens
        if num_patches < self.tokens_per_layer:
            raise GLSimError(
                f'FeatureFusionViT takes {self.tokens_per_layer} patches from each layer, but the image has '
                f'{num_patches}: enlarge the image or lower model.backbone.tokens_per_layer.'
            )
        selected = [hidden[-1][:, :1]]
        for tokens, inputs in zip(hidden, record.inputs, strict=True):
            with torch.no_grad():
                scores = mutual_attention(inputs, self.num_extra_tokens)
                indices = scores.topk(self.tokens_per_layer, dim=1).indices + self.num_extra_tokens
            selected.append(gather_tokens(tokens, indices))
        return torch.cat(selected, dim=1)
