"""mmpretrain's Vision Transformer as a GLSim encoder."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.model.weight_init import update_init_info
from mmpretrain.models.backbones import VisionTransformer
from mmpretrain.models.utils import resize_pos_embed
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...checkpoints.backbone_loading import load_glsim_vit
from ...compat.compilation import use_python_drop_probabilities
from ...compat.linear_kernels import use_fast_linear
from ..utils import (
    check_frozen_stages,
    check_image_size,
    check_out_indices,
    class_token_of,
    detach_patches,
    evenly_spaced,
    merge_tokens,
    regularise_branches,
    reuse_mlp_buffers,
    similarity_map,
    windowed_layer,
)


@MODELS.register_module()
class GLSimViT(VisionTransformer):
    """Vision Transformer that returns raw tokens and can encode crops with a CLS token of their own.

    Parameter names are those of mmpretrain's :class:`VisionTransformer`, so every checkpoint that loads there loads
    here. Position embeddings are interpolated to the image, so any height and width of at least one patch work; sides
    that the patch size does not divide are zero-padded at the bottom and right.

    Differences from the parent: ``out_type`` defaults to ``'raw'``, frozen stages stay in eval mode when the model is
    put into train mode, and the arguments below. ``arch`` takes the parent's names and dictionaries, and the
    ``'vit-*'`` names, because the parent's ``'small'`` is not the ViT-S (384 channels, 6 heads) of the literature.

    Args:
        *args: Arguments of mmpretrain's :class:`VisionTransformer`.
        crop_cls_token: Give crops a learnable CLS token of their own, as the authors' timm variant does. It starts as a
            copy of the CLS token whenever a checkpoint without it is loaded.
        drop_path_rate: Stochastic depth: how often a residual branch is dropped, in [0, 1).
        drop_path_uniform: Drop the branches of every layer that often, as the authors do, instead of ever more often
            from 0 in the first layer to ``drop_path_rate`` in the last.
        branch_drop_rate: Dropout, in [0, 1), of the outputs of both branches of every layer and nowhere else, as the
            authors do. The parent's ``drop_rate`` also acts behind the position embedding and inside the MLP.
        with_cp: Recompute each layer in the backward pass to save activation memory.
        out_type: As in the parent; ``'raw'`` returns (B, 1 + N, C), ``'featmap'`` (B, C, h, w) for detectors and
            segmenters.
        window_size: Patches attend inside windows of so many patches a side, as in ViTDet (arXiv 2203.16527), which
            makes large inputs affordable; the CLS token goes on seeing all of them, and they see it. 0 for none.
        global_indices: Layers that attend globally all the same. Defaults to the last layer of each quarter, as in
            ViTDet.
        with_similarity_map: With ``out_type='featmap'``, one more output after the maps: the similarity of CLS and
            patch tokens, (B, 1, h, w).
        merged_tokens: In the pass of crops, merge so many pairs of alike patch tokens in each layer (arXiv 2210.09461),
            which is faster and no longer exact. Needs no training.
        **kwargs: Keyword arguments of the parent.

    Example::

        backbone=dict(type='GLSimViT', arch='vit-base', img_size=224, patch_size=16)
    """

    arch_zoo = {
        **VisionTransformer.arch_zoo,
        'vit-tiny': VisionTransformer.arch_zoo['deit-tiny'],
        'vit-small': VisionTransformer.arch_zoo['deit-small'],
        'vit-base': VisionTransformer.arch_zoo['base'],
        'vit-large': VisionTransformer.arch_zoo['large'],
        'vit-huge': VisionTransformer.arch_zoo['huge'],
    }

    def __init__(
        self,
        *args,
        crop_cls_token: bool = False,
        drop_path_rate: float = 0.0,
        drop_path_uniform: bool = False,
        branch_drop_rate: float = 0.0,
        with_cp: bool = False,
        out_type: str = 'raw',
        window_size: int = 0,
        global_indices: Sequence[int] | None = None,
        with_similarity_map: bool = False,
        merged_tokens: int = 0,
        **kwargs,
    ) -> None:
        super().__init__(*args, drop_path_rate=drop_path_rate, out_type=out_type, **kwargs)
        if with_similarity_map and (out_type != 'featmap' or self.cls_token is None):
            raise ValueError("with_similarity_map=True needs out_type='featmap' and with_cls_token=True")
        check_frozen_stages(self.frozen_stages, self.num_layers)
        if window_size < 0:
            raise ValueError(f'window_size must be 0 or more patches, got {window_size}')
        if merged_tokens < 0 or (merged_tokens and window_size):
            raise ValueError(f'merged_tokens must be 0 or more, and 0 with window_size, got {merged_tokens}')
        self.merged_tokens = merged_tokens
        self.with_similarity_map = with_similarity_map
        self.window_size = window_size
        if global_indices is None:
            global_indices = evenly_spaced(self.num_layers)
        self.global_indices = check_out_indices(global_indices, self.num_layers) if global_indices else ()
        if crop_cls_token and self.cls_token is None:
            raise ValueError('crop_cls_token=True needs with_cls_token=True')
        regularise_branches(self.layers, drop_path_rate, branch_drop_rate, drop_path_uniform)
        use_python_drop_probabilities(self.layers)
        use_fast_linear(self.layers)
        reuse_mlp_buffers(self.layers)
        self.with_cp = with_cp
        self.patch_size = tuple(self.patch_embed.projection.stride)
        self.crop_cls_token = nn.Parameter(torch.zeros_like(self.cls_token)) if crop_cls_token else None
        if crop_cls_token and self.frozen_stages > 0:
            self.crop_cls_token.requires_grad = False
        self._register_load_state_dict_pre_hook(self._copy_cls_token_for_crops)

    def forward(self, images: Tensor, is_crop: bool = False, output: str = 'tokens') -> tuple[Tensor, ...]:
        """Encode images.

        Args:
            images: Normalised, (B, 3, H, W), at least one patch.
            is_crop: Use the crops' own CLS token where there is one.
            output: What of the last layer is wanted: all ``'tokens'``; ``'selection_tokens'``, of which only the CLS
                token carries gradient, which spares training most of the last layer's backward pass; or
                ``'class_token'``, for which the last layer computes nothing else.

        Returns:
            One item per ``out_indices``; for ``out_type='raw'`` each is (B, 1 + N, C) with the CLS token first and the
            patches row by row, N = h * w, h = ceil(H / P), w = ceil(W / P). For ``'featmap'`` each is (B, C, h, w), the
            last layer's behind the final norm; then, if asked for, the similarity map, float32 (B, 1, h, w) in [-1, 1]
            without gradient. For ``output='class_token'`` one item (B, 1, C).
        """
        use_own_token = is_crop and self.crop_cls_token is not None
        return self._encode(images, self.crop_cls_token if use_own_token else self.cls_token, output)

    def encode_images(self, images: Tensor) -> Tensor:
        """Tokens (B, 1 + N, C) of images from which regions are to be selected; only the CLS token carries gradient."""
        return self(images, output='selection_tokens')[-1]

    def encode_crops(self, crops: Tensor) -> Tensor:
        """CLS token (B, C) of each crop (arXiv 2407.12891, section 3.3), by their own CLS token where there is one."""
        # Through __call__, so that a compiled backbone and forward hooks serve this pass too.
        return self(crops, is_crop=True, output='class_token')[-1][:, 0]

    def _freeze_stages(self) -> None:
        check_frozen_stages(self.frozen_stages, self.num_layers)  # mmpretrain would look for layers that are not there
        super()._freeze_stages()

    def train(self, mode: bool = True) -> 'GLSimViT':
        """Set the mode; frozen stages stay in eval mode, so that stochastic depth does not act in them."""
        super().train(mode)
        if mode and self.frozen_stages > 0:
            self._freeze_stages()
        return self

    def init_weights(self) -> None:
        """Initialise, or load ``init_cfg``'s checkpoint, of any layout that :mod:`glsim_mm.checkpoints` reads."""
        if isinstance(self.init_cfg, dict) and self.init_cfg['type'] == 'Pretrained' and not self.is_init:
            load_glsim_vit(self, self.init_cfg['checkpoint'], self.init_cfg.get('prefix'))
            if hasattr(self, '_params_init_info'):  # the record that mmengine writes to the log
                update_init_info(self, f'PretrainedInit: load from {self.init_cfg["checkpoint"]}')
            self._is_init = True  # LoRAModel, which changes names, loads before the classifier does
        else:
            super().init_weights()

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter for layer-wise learning rate decay; see the parent."""
        if param_name == f'{prefix}crop_cls_token':
            return 0, self.num_layers + 2
        return super().get_layer_depth(param_name, prefix)

    def _encode(self, images: Tensor, cls_token: Tensor | None, output: str = 'tokens') -> tuple[Tensor, ...]:
        x, grid = self._embed(images, cls_token)
        if output == 'class_token':
            return (self._class_token(x, grid),)
        outputs = []
        for i in range(len(self.layers)):
            last = i == len(self.layers) - 1
            x = self._run(self._run_layer, i, x, grid, last and output == 'selection_tokens')
            if last and self.final_norm:
                x = self.ln1(x)
            if i in self.out_indices:
                outputs.append(self._format_output(x, grid))
        if self.with_similarity_map:
            outputs.append(similarity_map(x[:, 0], x[:, self.num_extra_tokens :], grid))
        return tuple(outputs)

    def _embed(self, images: Tensor, cls_token: Tensor | None) -> tuple[Tensor, tuple[int, int]]:
        """What goes into the first layer, (B, P0 + N, C), and the grid of patches."""
        # Where patches overlap, the stride, which is patch_size here, is smaller than what a patch covers.
        check_image_size(images.shape[-2:], tuple(self.patch_embed.projection.kernel_size))
        x, grid = self.patch_embed(images)
        if cls_token is not None:
            x = torch.cat((cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        x = x + resize_pos_embed(
            self.pos_embed, self.patch_resolution, grid, self.interpolate_mode, self.num_extra_tokens
        )
        return self.pre_norm(self.drop_after_pos(x)), grid

    def _class_token(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """CLS token (B, 1, C) of the last layer."""
        last, bias = len(self.layers) - 1, None
        if self.merged_tokens:
            x, bias = merge_tokens(self.layers[:last], x, self.num_extra_tokens, self.merged_tokens, self._run)
        else:
            for i in range(last):
                x = self._run(self._run_layer, i, x, grid)
        if self._is_windowed(last, grid):
            x = self._run(self._run_layer, last, x, grid)[:, :1]
        else:
            x = self._run(class_token_of, self.layers[last], x, bias)
        return self.ln1(x) if self.final_norm else x

    def _run(self, step: Callable, *args) -> Any:
        """One layer; its activations are computed again in the backward pass if asked for."""
        if self.with_cp and self.training and torch.is_grad_enabled():
            return checkpoint(step, *args, use_reentrant=False)
        return step(*args)

    def _run_layer(self, index: int, x: Tensor, grid: tuple[int, int], detached: bool = False) -> Tensor:
        layer = self.layers[index]
        if self._is_windowed(index, grid):
            return windowed_layer(layer, x, grid, self.window_size, self.num_extra_tokens)
        return detach_patches(layer, x) if detached else layer(x)

    def _is_windowed(self, index: int, grid: tuple[int, int]) -> bool:
        return self.window_size > 0 and index not in self.global_indices and max(grid) > self.window_size

    def _copy_cls_token_for_crops(self, state_dict: dict, prefix: str, *args) -> None:
        """Start the crops' CLS token from the image's when a checkpoint lacks it."""
        source, target = f'{prefix}cls_token', f'{prefix}crop_cls_token'
        if self.crop_cls_token is not None and target not in state_dict and source in state_dict:
            state_dict[target] = state_dict[source].clone()
