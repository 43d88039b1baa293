"""The steps of one pre-norm ViT block, so that a block can be run for some of its tokens only."""

from dataclasses import dataclass

import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import FFN
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from mmpretrain.models.utils import MultiheadAttention
from torch import Tensor, nn

from ...compat.linear_kernels import linear_rows

# By name: importing timm takes seconds, and many models need none of it.
_TIMM_BLOCK, _TIMM_ATTENTION = 'timm.models.vision_transformer.Block', 'timm.layers.attention.Attention'


@dataclass(frozen=True)
class BlockParts:
    """``x + drop(scale(attention(norm(x))))``, then the same with an MLP (An Image is Worth 16x16 Words, eq. 2 and 3).

    Attributes:
        norm: LayerNorm before the attention.
        qkv: Queries, keys and values, one after another in its rows.
        num_heads: Attention heads.
        query_norm: Norm of each head's queries.
        key_norm: Norm of each head's keys.
        dropout: Of the attention weights, in training.
        project: From the heads' output to the branch: projection, dropout, LayerScale.
        drop_path: Stochastic depth of the attention branch.
        mlp_norm: LayerNorm before the MLP.
        mlp: The MLP branch: MLP, LayerScale.
        mlp_drop_path: Stochastic depth of the MLP branch.
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
        """Attention branch (B, T, C) before stochastic depth, of T queries over S keys; fused.

        Args:
            queries: (B, heads, T, D).
            keys: (B, heads, S, D).
            values: (B, heads, S, D).
            bias: Added to the attention logits, broadcast to (B, heads, T, S).
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
    """Steps of a block.

    Args:
        block: Of mmpretrain's ``VisionTransformer`` or timm's.

    Returns:
        None for blocks that compute anything else (rotary embeddings, gates, wrapped layers such as LoRA's or quantised
        ones), which must be run whole.
    """
    attention = getattr(block, 'attn', None)
    if type(getattr(attention, 'qkv', None)) is not nn.Linear:
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


def full_name(module: nn.Module) -> str:
    """Name of a module's class with that of its Python module, to tell timm's classes without importing timm."""
    return f'{type(module).__module__}.{type(module).__qualname__}'


def _apply(modules: tuple[nn.Module, ...], x: Tensor) -> Tensor:
    for module in modules:
        x = module(x)
    return x
