"""The encoder of FFVT."""

from collections.abc import Sequence

import torch
from mmpretrain.registry import MODELS
from torch import Tensor

from ...errors import GLSimError
from ...ops import mutual_attention
from ..utils import AttentionRecord
from .token_selection_vit import TokenSelectionViT, gather_tokens


@MODELS.register_module()
class FeatureFusionViT(TokenSelectionViT):
    """ViT that fuses tokens of every layer, FFVT (arXiv 2107.02341).

    Of each layer before the last, the patches with the largest mutual attention weights (MAWS) are selected. CLS and
    these tokens, ordered by layer and weight, are the input of the last layer.

    Args:
        *args: Arguments of :class:`TokenSelectionViT`.
        tokens_per_layer: Number K of patches from each layer, >= 1.
        **kwargs: Keyword arguments of :class:`TokenSelectionViT`.

    Raises:
        ValueError: If ``tokens_per_layer`` is not positive.
    """

    def __init__(self, *args, tokens_per_layer: int = 12, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if tokens_per_layer < 1:
            raise ValueError(f'tokens_per_layer must be at least 1, got {tokens_per_layer}')
        self.tokens_per_layer = tokens_per_layer

    def fuse(self, hidden: Sequence[Tensor], record: AttentionRecord) -> Tensor:
        """CLS and K patches of each layer, (B, 1 + K (L - 1), C); see the parent.

        Raises:
            GLSimError: If the image has fewer than K patches.
        """
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
