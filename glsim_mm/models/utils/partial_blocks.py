"""ViT blocks that do less than whole.

For the tokens that are read, which is exact, or with similar tokens merged, which is not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import FFN
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from mmpretrain.models.utils import MultiheadAttention
from torch import Tensor, nn

from ...compat.linear_kernels import is_fast_linear, linear_rows
from ...errors import GLSimError
from ...ops import merge_alike_tokens

# By name: importing timm takes seconds, and many models need none of it.
_TIMM_BLOCK, _TIMM_ATTENTION = 'timm.models.vision_transformer.Block', 'timm.layers.attention.Attention'


@dataclass(frozen=True)
class BlockParts:
    """``x + drop(scale(attention(norm(x))))``, then the same with an MLP (An Image is Worth 16x16 Words, eq. 2 and 3).

    ``qkv`` makes queries, keys and values, one after another in its rows. ``project`` leads from the heads' output to
    the branch: projection, dropout, LayerScale; ``mlp`` is the other branch: MLP, LayerScale.
    """

    norm: nn.Module
    qkv: nn.Linear
    num_heads: int
    query_norm: nn.Module | None
    key_norm: nn.Module | None
    dropout: float
    project: tuple[nn.Module, ...]
    drop_path: nn.Module
    mlp_norm: nn.Module
    mlp: tuple[nn.Module, ...]
    mlp_drop_path: nn.Module

    def queries(self, normed: Tensor) -> Tensor:
        """Queries (B, heads, T, D) of normed tokens (B, T, C)."""
        size = self.qkv.out_features // 3
        queries = self._heads(linear_rows(self.qkv, normed, 0, size), 1)[0]
        return queries if self.query_norm is None else self.query_norm(queries)

    def keys_and_values(self, normed: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values, each (B, heads, S, D), of normed tokens (B, S, C)."""
        size = self.qkv.out_features // 3
        keys, values = self._heads(linear_rows(self.qkv, normed, size, 3 * size), 2)
        return keys if self.key_norm is None else self.key_norm(keys), values

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None = None) -> Tensor:
        """Fused attention branch (B, T, C) before stochastic depth, of queries (B, heads, T, D) over S keys and values.

        ``bias`` is added to the attention logits, broadcast to (B, heads, T, S).
        """
        mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias, dropout_p=self.dropout)
        return _apply(self.project, mixed.transpose(1, 2).flatten(2))

    def add_mlp(self, x: Tensor) -> Tensor:
        """Tokens (B, T, C) with the MLP branch added."""
        return x + self.mlp_drop_path(self.mlp_branch(x))

    def mlp_branch(self, x: Tensor) -> Tensor:
        """MLP branch (B, T, C) before stochastic depth."""
        return _apply(self.mlp, self.mlp_norm(x))

    def _heads(self, x: Tensor, count: int) -> tuple[Tensor, ...]:
        """``count`` tensors (B, heads, T, D) out of (B, T, count * heads * D)."""
        return x.unflatten(2, (count, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def split_block(block: nn.Module) -> BlockParts | None:
    """Take a block of mmpretrain's ``VisionTransformer`` or timm's apart.

    None for a block that must be run whole: one that computes anything else (rotary embeddings, gates, layers that LoRA
    or quantisation has wrapped), or one that somebody watches or has changed; see :func:`is_observed`.
    """
    attention = getattr(block, 'attn', None)
    if type(getattr(attention, 'qkv', None)) is not nn.Linear or is_observed(block):
        return None
    if type(block) is TransformerEncoderLayer and type(attention) is MultiheadAttention:
        return _split_mmpretrain(block)
    if full_name(block) == _TIMM_BLOCK and full_name(attention) == _TIMM_ATTENTION:
        return _split_timm(block)
    return None


def _split_mmpretrain(block: TransformerEncoderLayer) -> BlockParts | None:
    attention, ffn = block.attn, block.ffn
    is_fused = attention.scaled_dot_product_attention is F.scaled_dot_product_attention
    if attention.v_shortcut or not is_fused or type(ffn) is not FFN or not ffn.add_identity:
        return None
    return BlockParts(
        norm=block.ln1,
        qkv=attention.qkv,
        num_heads=attention.num_heads,
        query_norm=None,
        key_norm=None,
        dropout=attention.attn_drop if block.training else 0.0,
        project=(attention.proj, attention.proj_drop, attention.gamma1),
        drop_path=attention.out_drop,
        mlp_norm=block.ln2,
        mlp=(ffn.layers, ffn.gamma2),
        mlp_drop_path=ffn.dropout_layer,
    )


def _split_timm(block: nn.Module) -> BlockParts | None:
    attention = block.attn
    if not attention.fused_attn or attention.gate is not None:
        return None
    return BlockParts(
        norm=block.norm1,
        qkv=attention.qkv,
        num_heads=attention.num_heads,
        query_norm=attention.q_norm,
        key_norm=attention.k_norm,
        dropout=attention.attn_drop.p if block.training else 0.0,
        project=(attention.norm, attention.proj, attention.proj_drop, block.ls1),
        drop_path=block.drop_path1,
        mlp_norm=block.norm2,
        mlp=(block.mlp, block.ls2),
        mlp_drop_path=block.drop_path2,
    )


def is_observed(module: nn.Module) -> bool:
    """Whether a module or anything inside it has hooks or a ``forward`` of its own.

    Hooks fire only when a module is called whole, as Grad-CAM, feature extractors and the older ways of wrapping layers
    expect it. Hooks for all modules of a process (``register_module_forward_hook``) are not meant for this one.
    """
    return any(
        child._forward_hooks
        or child._forward_pre_hooks
        or child._backward_hooks
        or child._backward_pre_hooks
        or ('forward' in vars(child) and not is_fast_linear(child))
        for child in module.modules()
    )


def full_name(module: nn.Module) -> str:
    """Name of a module's class with that of its Python module, to tell timm's classes without importing timm."""
    return f'{type(module).__module__}.{type(module).__qualname__}'


def _apply(modules: tuple[nn.Module, ...], x: Tensor) -> Tensor:
    for module in modules:
        x = module(x)
    return x


def class_token_of(block: nn.Module, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """What a block makes of the CLS token of its input (B, S, C): (B, 1, C); the others serve as keys and values only.

    Nothing else of the last block is read in the crop's pass (arXiv 2407.12891, section 3.3). This is exact and leaves
    out about five sixths of the block's multiplications; blocks that cannot be taken apart are run whole. ``bias`` is
    added to the attention logits, for blocks that :func:`merge_tokens` would run too.
    """
    parts = split_block(block) if bias is None else _split_to_merge(block)
    if parts is None:
        return block(x)[:, :1]
    normed = parts.norm(x)
    keys, values = parts.keys_and_values(normed)
    bias = None if bias is None else bias.to(keys.dtype)
    branch = parts.attend(parts.queries(normed[:, :1]), keys, values, bias)
    return parts.add_mlp(x[:, :1] + parts.drop_path(branch))


def detach_patches(block: nn.Module, x: Tensor) -> Tensor:
    """All tokens (B, S, C) of a block, of which only the CLS token carries gradient. Exact.

    Selection has no gradient, so nothing flows back through the patch tokens of the last
    block of the image's pass; left to itself, autograd would multiply zeros through all of it. The forward pass does
    the same work as the whole block and draws the same stochastic depth for all tokens of an image. Blocks that cannot
    be taken apart are run whole, with gradient.
    """
    parts = split_block(block) if torch.is_grad_enabled() else None
    if parts is None:
        return block(x)
    normed = parts.norm(x)
    keys, values = parts.keys_and_values(normed)
    of_class = parts.attend(parts.queries(normed[:, :1]), keys, values)
    with torch.no_grad():
        of_patches = parts.attend(parts.queries(normed[:, 1:]), keys, values)
    x = x + parts.drop_path(torch.cat([of_class, of_patches], dim=1))
    x = torch.cat([x[:, :1], x[:, 1:].detach()], dim=1)
    # The CLS token first: under autocast the cast of a weight that is first seen without gradient would keep none.
    of_class = parts.mlp_branch(x[:, :1])
    with torch.no_grad():
        of_patches = parts.mlp_branch(x[:, 1:])
    return x + parts.mlp_drop_path(torch.cat([of_class, of_patches], dim=1))


def merge_tokens(
    blocks: Sequence[nn.Module], x: Tensor, num_extra_tokens: int, count: int, run: Callable[..., Any]
) -> tuple[Tensor, Tensor]:
    """Run blocks between whose attention and MLP alike patch tokens are merged (arXiv 2210.09461). Not exact.

    ``count`` tokens go in each block, at most half of those that are left; the first ``num_extra_tokens`` (P0) are
    never merged. ``run`` calls its first argument with the others; activation checkpointing comes in here. Gives tokens
    (B, P0 + M, C), and what a further block must add to its attention logits so that a token counts as often as it has
    patches (equation 1), (B, 1, 1, P0 + M).
    """
    sizes = torch.ones(x.shape[0], x.shape[1] - num_extra_tokens, device=x.device)
    for block in blocks:
        x, sizes = run(_merging_block, block, x, sizes, num_extra_tokens, count)
    return x, _size_bias(sizes, num_extra_tokens)


def _merging_block(
    block: nn.Module, x: Tensor, sizes: Tensor, num_extra_tokens: int, count: int
) -> tuple[Tensor, Tensor]:
    """A block, (B, P0 + N, C) and sizes (B, N) in and out, ``count`` tokens fewer."""
    parts = _split_to_merge(block)
    normed = parts.norm(x)
    keys, values = parts.keys_and_values(normed)
    bias = _size_bias(sizes, num_extra_tokens).to(keys.dtype)
    x = x + parts.drop_path(parts.attend(parts.queries(normed), keys, values, bias))
    features = keys.detach().mean(dim=1)[:, num_extra_tokens:]
    patches, sizes = merge_alike_tokens(x[:, num_extra_tokens:], sizes, features, count)
    return parts.add_mlp(torch.cat([x[:, :num_extra_tokens], patches], dim=1)), sizes


def _split_to_merge(block: nn.Module) -> BlockParts:
    parts = split_block(block)
    if parts is None:
        raise GLSimError(
            f'Tokens can be merged only in plain ViT blocks without hooks, and this {type(block).__name__} is not one: '
            'set model.backbone.merged_tokens=0, or take GLSimViT.'
        )
    return parts


def _size_bias(sizes: Tensor, num_extra_tokens: int) -> Tensor:
    return F.pad(sizes.log(), (num_extra_tokens, 0))[:, None, None]
