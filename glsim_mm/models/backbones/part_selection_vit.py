"""The encoder of TransFG."""

from collections.abc import Sequence

import torch
from mmpretrain.registry import MODELS
from torch import Tensor

from ...ops import head_products
from ..utils import AttentionRecord
from .token_selection_vit import TokenSelectionViT, gather_tokens


@MODELS.register_module()
class PartSelectionViT(TokenSelectionViT):
    """ViT with TransFG's part selection module (arXiv 2103.07976).

    Head by head, the attention of all layers before the last is multiplied, and the patch with the largest weight in
    the product's CLS row is selected. CLS and these patches, one per head and with repetition where heads agree, are
    the input of the last layer. See :class:`TokenSelectionViT` for arguments.
    """

    def fuse(self, hidden: Sequence[Tensor], record: AttentionRecord) -> Tensor:
        """CLS and each head's patch, (B, 1 + heads, C); see the parent."""
        tokens = hidden[-1]
        with torch.no_grad():
            indices = head_products(record, self.num_extra_tokens).argmax(dim=-1) + self.num_extra_tokens
        return torch.cat((tokens[:, :1], gather_tokens(tokens, indices)), dim=1)
