"""Token merging: the most alike patch tokens become one ("Token Merging: Your ViT But Faster", arXiv 2210.09461).

Shapes depend on arguments alone, nothing loops over images, and everything exports to ONNX.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def merge_alike_tokens(tokens: Tensor, sizes: Tensor, features: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Merge tokens by bipartite soft matching (section 3 of the paper).

    Every other token looks for the most alike among the rest; of these pairs the ``count`` most alike are merged into
    their mean, weighted by how many patches each token stands for.

    Args:
        tokens: Patch tokens, without the CLS token, (B, N, C).
        sizes: How many patches each stands for, float (B, N), >= 1.
        features: What they are compared by, with cosine similarity, (B, N, D); the paper takes the mean of the
            attention keys over heads.
        count: Tokens to get rid of, 0 to N // 2; more are cut to N // 2.

    Returns:
        Tokens (B, N - count, C) and sizes (B, N - count), in no spatial order.
    """
    count = min(count, tokens.shape[1] // 2)
    if count <= 0:
        return tokens, sizes
    features = F.normalize(features.float(), dim=-1)
    similarity = features[:, ::2] @ features[:, 1::2].transpose(1, 2)
    best = similarity.max(dim=2)
    order = best.values.argsort(dim=1, descending=True)
    leaving, staying = order[:, :count], order[:, count:]
    target = best.indices.gather(1, leaving)
    weighted = torch.cat([tokens * sizes[..., None], sizes[..., None]], dim=2)
    first, second = weighted[:, ::2], weighted[:, 1::2]
    second = second.scatter_add(1, _over_channels(target, second), _take(first, leaving))
    merged = torch.cat([_take(first, staying), second], dim=1)
    return (merged[..., :-1] / merged[..., -1:]).to(tokens.dtype), merged[..., -1]


def _take(tokens: Tensor, indices: Tensor) -> Tensor:
    return tokens.gather(1, _over_channels(indices, tokens))


def _over_channels(indices: Tensor, tokens: Tensor) -> Tensor:
    return indices[..., None].expand(-1, -1, tokens.shape[-1])
