"""The two passes as the paper describes them and its authors' code runs them, to hold a fast implementation against.

Attention makes its S x S matrices, every block computes all tokens, boxes are read into Python and images are cropped
one by one (arXiv 2407.12891, section 3; github.com/arkel23/GLSim). Weights are those of a :class:`GLSimClassifier`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...compat.linear_kernels import use_torch_linear
from ...models.classifiers import GLSimClassifier
from ...models.utils.mlp_buffers import keep_mlp_buffers
from ...models.utils.partial_blocks import BlockParts, split_block
from ...ops import global_local_similarity, patch_grid, top_patches


class StraightforwardGLSim(nn.Module):
    """Shares all weights with a model of ``GLSimViT``, ``GLSimSelector`` (cosine) and ``AggregatorHead``.

    Args:
        model: Whose weights to use; its linear layers go back to torch's own library, its MLPs to new memory for every
            tensor.
    """

    def __init__(self, model: GLSimClassifier) -> None:
        super().__init__()
        self.model = model
        use_torch_linear(model)
        keep_mlp_buffers(model)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of normalised images (B, 3, H, W)."""
        tokens = self._encode(images)
        crops = self._crop(images, tokens)
        sequence = torch.stack([tokens[:, 0], self._encode(crops)[:, 0]], dim=1)
        head = self.model.head
        for layer in head.layers:
            sequence = _run_block(layer, sequence)
        return head.fc(head.norm(sequence)[:, 0])

    def _encode(self, images: Tensor) -> Tensor:
        backbone = self.model.backbone
        x, _ = backbone._embed(images, backbone.cls_token)
        for layer in backbone.layers:
            x = _run_block(layer, x)
        return backbone.ln1(x)

    @torch.no_grad()
    def _crop(self, images: Tensor, tokens: Tensor) -> Tensor:
        neck, (patch, _) = self.model.neck, self.model.layout.patch_size
        size = (images.shape[-2], images.shape[-1])
        _, columns = patch_grid(size, self.model.layout.patch_size)
        chosen = top_patches(global_local_similarity(tokens[:, 0], tokens[:, 1:]), neck.top_o)
        crops = []
        for image, indices in zip(images, chosen):
            rows, cols = indices // columns, indices % columns
            y0, x0 = int(rows.min()) * patch, int(cols.min()) * patch
            y1, x1 = max(int(rows.max()) * patch, y0 + patch), max(int(cols.max()) * patch, x0 + patch)
            region = image[None, :, y0:y1, x0:x1]
            crops.append(F.interpolate(region, size, mode='bilinear', align_corners=True))
        return torch.cat(crops)


def _run_block(block: nn.Module, x: Tensor) -> Tensor:
    parts = split_block(block)
    if parts is None:
        raise ValueError(f'{type(block).__name__} is not a plain ViT block')
    x = x + parts.drop_path(_attend(parts, parts.norm(x)))
    return parts.add_mlp(x)


def _attend(parts: BlockParts, normed: Tensor) -> Tensor:
    """Attention branch with its matrix (B, heads, S, S) made."""
    query, key, value = parts.qkv(normed).unflatten(2, (3, parts.num_heads, -1)).permute(2, 0, 3, 1, 4)
    weights = (query @ key.transpose(2, 3) * query.shape[-1] ** -0.5).softmax(dim=-1)
    mixed = (weights @ value).transpose(1, 2).flatten(2)
    for module in parts.project:
        mixed = module(mixed)
    return mixed
