"""ViT blocks that do less: for the tokens that are read, which is exact, or with alike tokens merged, which is not."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import GLSimError
from ...ops import merge_alike_tokens
from .block_parts import BlockParts, split_block


def class_token_of(block: nn.Module, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """What a block makes of the CLS token; the other tokens serve as keys and values only. Exact.

    Of the last block of the crop's pass nothing else is read (arXiv 2407.12891, section 3.3). It leaves about five
    sixths of the block's multiplications out.

    Args:
        block: Block of mmpretrain's or timm's ViT; others are run whole.
        x: Its input, (B, S, C), CLS token first.
        bias: Added to the attention logits, broadcast to (B, heads, 1, S). Only for blocks that :func:`merge_tokens`
            would run too.

    Returns:
        (B, 1, C).
    """
    parts = split_block(block)
    if parts is None:
        return block(x)[:, :1]
    normed = parts.norm(x)
    keys, values = parts.keys_and_values(normed)
    bias = None if bias is None else bias.to(keys.dtype)
    branch = parts.attend(parts.queries(normed[:, :1]), keys, values, bias)
    return parts.add_mlp(x[:, :1] + parts.drop_path(branch))


def detach_patches(block: nn.Module, x: Tensor) -> Tensor:
    """All tokens of a block, of which only the CLS token carries gradient. Exact.

    Selection has no gradient (DESIGN section 1, step 2), so nothing flows back through the patch tokens of the last
    block of the image's pass; left to itself, autograd would multiply zeros through all of it. The forward pass does
    the same work as the whole block and draws the same stochastic depth for all tokens of an image.

    Args:
        block: Block of mmpretrain's or timm's ViT; others are run whole, with gradient.
        x: Its input, (B, S, C), CLS token first.

    Returns:
        (B, S, C).
    """
    parts = split_block(block) if torch.is_grad_enabled() else None
    if parts is None:
        return block(x)
    x = x + parts.drop_path(_attention_branch(parts, x))
    x = torch.cat([x[:, :1], x[:, 1:].detach()], dim=1)
    # The CLS token first: under autocast the cast of a weight that is first seen without gradient would keep none.
    of_class = parts.mlp_branch(x[:, :1])
    with torch.no_grad():
        of_patches = parts.mlp_branch(x[:, 1:])
    return x + parts.mlp_drop_path(torch.cat([of_class, of_patches], dim=1))


def _attention_branch(parts: BlockParts, x: Tensor) -> Tensor:
    """Attention branch (B, S, C) before stochastic depth; only the CLS token's carries gradient."""
    normed = parts.norm(x)
    keys, values = parts.keys_and_values(normed)
    of_class = parts.attend(parts.queries(normed[:, :1]), keys, values)
    with torch.no_grad():
        of_patches = parts.attend(parts.queries(normed[:, 1:]), keys, values)
    return torch.cat([of_class, of_patches], dim=1)


def merge_tokens(
    blocks: Sequence[nn.Module], x: Tensor, num_extra_tokens: int, count: int, run: Callable[..., Any]
) -> tuple[Tensor, Tensor]:
    """Run blocks between whose attention and MLP alike patch tokens are merged (arXiv 2210.09461). Not exact.

    Args:
        blocks: Blocks of mmpretrain's or timm's ViT.
        x: Input of the first, (B, P0 + N, C).
        num_extra_tokens: P0, tokens before the patches, which are never merged.
        count: Tokens to get rid of in each block, at most half of those that are left.
        run: Calls its first argument with the others; activation checkpointing comes in here.

    Returns:
        Tokens (B, P0 + M, C), and what a further block must add to its attention logits so that a token counts as often
        as it has patches (equation 1), (B, 1, 1, P0 + M).

    Raises:
        GLSimError: If a block's attention cannot be told from its MLP.
    """
    sizes = torch.ones(x.shape[0], x.shape[1] - num_extra_tokens, device=x.device)
    for block in blocks:
        x, sizes = run(_merging_block, block, x, sizes, num_extra_tokens, count)
    return x, _size_bias(sizes, num_extra_tokens)


def _merging_block(
    block: nn.Module, x: Tensor, sizes: Tensor, num_extra_tokens: int, count: int
) -> tuple[Tensor, Tensor]:
    """A block, (B, P0 + N, C) and sizes (B, N) in and out, ``count`` tokens fewer."""
    parts = split_block(block)
    if parts is None:
        raise GLSimError(
            f'Tokens can be merged in plain ViT blocks only, not in {type(block).__name__}: set '
            'model.backbone.merged_tokens=0, or take GLSimViT.'
        )
    normed = parts.norm(x)
    keys, values = parts.keys_and_values(normed)
    bias = _size_bias(sizes, num_extra_tokens).to(keys.dtype)
    x = x + parts.drop_path(parts.attend(parts.queries(normed), keys, values, bias))
    features = keys.detach().mean(dim=1)[:, num_extra_tokens:]
    patches, sizes = merge_alike_tokens(x[:, num_extra_tokens:], sizes, features, count)
    return parts.add_mlp(torch.cat([x[:, :num_extra_tokens], patches], dim=1)), sizes


def _size_bias(sizes: Tensor, num_extra_tokens: int) -> Tensor:
    return F.pad(sizes.log(), (num_extra_tokens, 0))[:, None, None]
