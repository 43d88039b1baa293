"""Google's JAX weights: the original ImageNet-21k models, augreg, and big_vision's.

Sources: https://github.com/google-research/vision_transformer and https://github.com/google-research/big_vision.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from ..errors import GLSimError
from .renaming import Renamed, Rules, fuse, rename

_BLOCK = r'Transformer/encoderblock_(\d+)/'
_RULES: Rules = (
    (r'cls', 'cls_token'),
    (r'(?:Transformer/posembed_input/)?pos_embedding', 'pos_embed'),
    (r'embedding/(kernel|bias)', r'patch_embed.proj.\1'),
    (r'Transformer/encoder_norm/(scale|bias)', r'norm.\1'),
    (r'head/(kernel|bias)', r'head.\1'),
    (_BLOCK + r'LayerNorm_0/(\w+)', r'blocks.\1.norm1.\2'),
    (_BLOCK + r'LayerNorm_[12]/(\w+)', r'blocks.\1.norm2.\2'),
    (_BLOCK + r'MultiHeadDotProductAttention_[01]/(query|key|value)/(\w+)', r'blocks.\1.attn.\2.\3'),
    (_BLOCK + r'MultiHeadDotProductAttention_[01]/out/(\w+)', r'blocks.\1.attn.proj.\2'),
    (_BLOCK + r'MlpBlock_[03]/Dense_0/(\w+)', r'blocks.\1.mlp.fc1.\2'),
    (_BLOCK + r'MlpBlock_[03]/Dense_1/(\w+)', r'blocks.\1.mlp.fc2.\2'),
)


def read_google_npz(tensors: Mapping[str, Tensor]) -> Renamed:
    """timm's names for Google's arrays; ``pre_logits``, the layer that fine-tuning drops, is left out.

    Args:
        tensors: Arrays by name, without prefixes such as ``params/``.

    Returns:
        Weights under timm's names, matrices transposed to torch's (outputs, inputs).

    Raises:
        GLSimError: If the file is of a hybrid with a ResNet stem, or a projection is incomplete.
    """
    if 'conv_root/kernel' in tensors:
        raise GLSimError('the weights have a ResNet stem (conv_root/kernel); get the file of a plain ViT')
    renamed, left_out = rename(_unstack(tensors), _RULES)
    arranged: dict[str, Tensor] = {}
    for name, tensor in renamed.items():
        stem, _, part = name.rpartition('.')
        if not stem:
            arranged[name] = tensor
        else:
            new_part = 'bias' if part == 'bias' else 'weight'
            arranged[f'{stem}.{new_part}'] = _arrange(stem, part, tensor)
    return Renamed(fuse(arranged, ('query', 'key', 'value'), 'qkv'), left_out)


def _unstack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give each block its own arrays where big_vision stacks those of all blocks (``encoderblock/``)."""
    result: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        match = re.fullmatch(r'Transformer/encoderblock/(.+)', name)
        if match is None:
            result[name] = tensor
        else:
            result.update({f'Transformer/encoderblock_{i}/{match[1]}': part for i, part in enumerate(tensor)})
    return result


def _arrange(stem: str, part: str, tensor: Tensor) -> Tensor:
    """Shape and order of axes of torch's layers."""
    if part == 'bias':
        return tensor.reshape(-1)
    if part == 'scale':
        return tensor
    if tensor.ndim == 4:  # convolution (h, w, in, out)
        return tensor.permute(3, 2, 0, 1).contiguous()
    if stem.endswith(('.query', '.key', '.value')):  # (in, heads, channels)
        return tensor.flatten(1).T.contiguous()
    if stem.endswith('.attn.proj'):  # (heads, channels, out)
        return tensor.flatten(0, 1).T.contiguous()
    return tensor.T.contiguous()
