"""GLSim in plain PyTorch, image by image, straight from the paper: what the package is checked against.

Reads the authors' parameter names. Shares no code with glsim_mm, mmpretrain or timm.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def _layer_norm(state: dict, name: str, x: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f'{name}.weight'], state[f'{name}.bias'], eps)


def _block(state: dict, name: str, x: Tensor, heads: int, eps: float) -> Tensor:
    batch, length, width = x.shape
    y = _layer_norm(state, f'{name}.norm1', x, eps)
    q, k, v = (
        F.linear(y, state[f'{name}.attn.proj_{p}.weight'], state[f'{name}.attn.proj_{p}.bias'])
        .view(batch, length, heads, width // heads)
        .transpose(1, 2)
        for p in 'qkv'
    )
    attention = (q @ k.transpose(2, 3) / (width // heads) ** 0.5).softmax(dim=-1)
    y = (attention @ v).transpose(1, 2).reshape(batch, length, width)
    x = x + F.linear(y, state[f'{name}.proj.weight'], state[f'{name}.proj.bias'])
    y = _layer_norm(state, f'{name}.norm2', x, eps)
    y = F.gelu(F.linear(y, state[f'{name}.pwff.fc1.weight'], state[f'{name}.pwff.fc1.bias']))
    return x + F.linear(y, state[f'{name}.pwff.fc2.weight'], state[f'{name}.pwff.fc2.bias'])


def encode(state: dict, images: Tensor, settings: dict) -> Tensor:
    """Tokens (B, 1 + N, C) after the final LayerNorm."""
    patches = F.conv2d(
        images, state['patch_embedding.weight'], state['patch_embedding.bias'], stride=settings['patch_size']
    )
    x = torch.cat([state['class_token'].expand(len(images), 1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
    x = x + state['positional_embedding.pos_embedding']
    for i in range(settings['num_layers']):
        x = _block(state, f'encoder.blocks.{i}', x, settings['num_heads'], settings['layer_norm_eps'])
    return _layer_norm(state, 'encoder_norm', x, settings['layer_norm_eps'])


def similarity(tokens: Tensor, kind: str) -> Tensor:
    """(B, N) similarity of CLS and patch tokens."""
    g, patches = tokens[:, :1], tokens[:, 1:]
    if kind == 'cos':
        return (g * patches).sum(-1) / (g.norm(dim=-1) * patches.norm(dim=-1))
    return (g - patches).abs().mean(-1) if kind == 'l1' else (g - patches).pow(2).mean(-1)


def box(indices: list[int], columns: int, patch: int, end: str) -> list[int]:
    """Pixel box x0, y0, x1, y1 around patches."""
    rows, cols = [i // columns for i in indices], [i % columns for i in indices]
    result = []
    for values in (cols, rows):
        start = min(values) * patch
        stop = (max(values) + 1) * patch if end == 'inclusive' else max(max(values) * patch, start + patch)
        result.append((start, stop))
    (x0, x1), (y0, y1) = result
    return [x0, y0, x1, y1]


def glsim(state: dict, images: Tensor, labels: Tensor, settings: dict) -> dict[str, Tensor]:
    """All intermediate results of the method, under the names of the golden files."""
    tokens = encode(state, images, settings)
    values = similarity(tokens, settings['similarity'])
    order = values.argsort(dim=1, descending=settings['similarity'] == 'cos')[:, : settings['top_o']]
    indices = order.sort(dim=1).values
    columns = images.shape[-1] // settings['patch_size']
    boxes = [box(i, columns, settings['patch_size'], settings.get('box_end', 'exclusive')) for i in indices.tolist()]
    crops = torch.cat(
        [
            F.interpolate(image[None, :, y0:y1, x0:x1], images.shape[-2:], mode='bilinear', align_corners=True)
            for image, (x0, y0, x1, y1) in zip(images, boxes)
        ]
    )
    cls_tokens = torch.stack([tokens[:, 0], encode(state, crops, settings)[:, 0]], dim=1)
    x = cls_tokens
    for i in range(settings['aggregator_layers']):
        x = _block(state, f'aggregator.blocks.{i}', x, settings['aggregator_heads'], settings['layer_norm_eps'])
    out = _layer_norm(state, 'aggregator_norm', x, settings['layer_norm_eps'])
    logits = F.linear(out[:, 0], state['head.weight'], state['head.bias'])
    return {
        'encoder_tokens': tokens,
        'similarity': values,
        'topk_indices': indices,
        'boxes_xyxy': torch.tensor(boxes),
        'crops': crops,
        'cls_tokens': cls_tokens,
        'aggregator_out': out,
        'logits': logits,
        'loss_label_smoothing_0_1': F.cross_entropy(logits, labels, label_smoothing=0.1),
    }
