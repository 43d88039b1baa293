"""Contrastive loss of TransFG."""

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(features: Tensor, labels: Tensor, margin: float = 0.4) -> Tensor:
    """Pull features of one class together and push those of other classes below a cosine similarity of ``margin``.

    Over all pairs of a batch, with s the cosine similarity: 1 - s for a pair of one class, max(s - margin, 0) for
    others, summed and divided by B, as in the authors' ``con_loss`` (arXiv 2103.07976;
    github.com/TACJu/TransFG, models/modeling.py).

    Args:
        features: (B, C), any float dtype.
        labels: int64 (B,).
        margin: Similarity that features of different classes may have, in [-1, 1].

    Returns:
        float32 scalar, >= 0 up to rounding.
    """
    # Autocast would lower the product, and 1 - s of near-equal features needs the digits.
    with torch.autocast(device_type=features.device.type, enabled=False):
        features = F.normalize(features.float(), dim=1)
        similarity = features @ features.T
    same_class = labels[:, None] == labels[None, :]
    pairs = torch.where(same_class, 1 - similarity, (similarity - margin).clamp(min=0))
    return pairs.sum() / len(features)
