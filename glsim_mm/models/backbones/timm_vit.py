"""Any plain ViT of timm as a GLSim encoder."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...checkpoints.backbone_loading import load_timm_vit
from ...checkpoints.checkpoint_files import check_finite
from ...compat.linear_kernels import use_fast_linear
from ...errors import GLSimError, one_line
from ..utils import (
    check_frozen_stages,
    check_image_size,
    check_out_indices,
    class_token_of,
    detach_patches,
    merge_tokens,
    reuse_mlp_buffers,
    similarity_map,
    tokens_to_map,
)

_NOT_PLAIN = '{!r} is not a plain ViT with patch tokens; see timm.list_models("*vit*").'
# timm's files of ViTs whose positions are relative, in tables for one grid of patches.
_FIXED_SIZE = ('.beit', '.vision_transformer_relpos')
_STEM = ('patch_embed', 'norm_pre', 'pos_drop', 'rel_pos_bias', 'shared_rel_pos')
_STEM_PARAMETERS = ('cls_token', 'reg_token', 'pos_embed', *_STEM)


@MODELS.register_module()
class TimmViT(BaseBackbone):
    """Raw tokens of a plain ViT of timm: DINOv2, DINOv3, registers, CLIP, SigLIP, EVA-02, DeiT-3 and the like.

    Tokens are normalised by the model's final LayerNorm, also where timm keeps that norm behind its pooling
    (``fc_norm``), unless ``final_norm`` is False. A model without a CLS token gets the mean of its patch tokens as its
    first token. Sides that the patch size does not divide are zero-padded at the bottom and right. BEiT, BEiT v2 and
    ViTs with relative positions take images and crops of ``img_size`` only.

    Args:
        model_name: A name of ``timm.list_models('*vit*')``, for example ``'vit_small_patch14_dinov2.lvd142m'``.
        pretrained: Let :meth:`init_weights` fetch timm's weights of that name from the hub.
        checkpoint_path: File of weights in any layout that :mod:`glsim_mm.checkpoints` reads, or an address such as
            ``'dinov2://FILE'``, for :meth:`init_weights` instead of the hub. Position embeddings are resized to
            ``img_size``.
        img_size: Usual input height and width, for which the position embedding is stored; other sizes are interpolated
            at run time. Defaults to the model's own.
        out_type: ``'raw'`` for all tokens, ``'cls_token'`` for the first one, ``'featmap'`` for maps of the patch
            tokens, for detectors and segmenters.
        out_indices: Layers whose maps are returned with ``'featmap'``.
        with_similarity_map: With ``'featmap'``, one more output after the maps: the similarity of CLS (or mean) token
            and patch tokens, (B, 1, h, w).
        frozen_stages: Freeze the stem and this many blocks, as in mmpretrain; -1 for none.
        with_cp: Recompute each block in the backward pass to save memory.
        merged_tokens: See :class:`GLSimViT`.
        final_norm: Normalise tokens; False leaves them as the last block does, as the GLSim authors' variant of timm's
            models.
        crop_cls_token: Give crops a learnable CLS token of their own, as that variant does. It starts as a copy of the
            CLS token whenever weights without it are loaded. Only for models whose blocks are a plain ViT's.
        class_token_blocks: So many last blocks give their CLS token, each behind the final norm, and what stands for an
            image is their sum, each of length 1; see :meth:`image_features`. All but the last block's are extra tokens,
            so that regions are selected as ever. 2 finds more of unseen classes than 1, with frozen weights.
        with_head: Keep what the model computes behind its tokens: CLIP's projection to the space of texts, whose width
            is ``num_classes``, or SigLIP's pooling by attention. :class:`GLSimClassifier` gives its result in place of
            the CLS tokens of image and crop; regions are selected by the tokens as ever.
        init_cfg: Initialization config of mmengine.
        **kwargs: Arguments of ``timm.create_model``, for example ``drop_path_rate``.

    Raises:
        GLSimError: If timm has no such plain ViT; a hybrid is none, as its tokens come from a convolutional stem.

    Example::

        backbone=dict(type='TimmViT', model_name='vit_small_patch14_dinov2.lvd142m', pretrained=True, img_size=224)
    """

    OUT_TYPES = ('raw', 'cls_token', 'featmap')

    def __init__(
        self,
        model_name: str,
        pretrained: bool = False,
        checkpoint_path: str = '',
        img_size: int | tuple[int, int] | None = None,
        out_type: str = 'raw',
        out_indices: int | Sequence[int] = -1,
        with_similarity_map: bool = False,
        frozen_stages: int = -1,
        with_cp: bool = False,
        merged_tokens: int = 0,
        final_norm: bool = True,
        crop_cls_token: bool = False,
        class_token_blocks: int = 1,
        with_head: bool = False,
        init_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(init_cfg)
        if out_type not in self.OUT_TYPES:
            raise ValueError(f'out_type must be one of {self.OUT_TYPES}, got {out_type!r}')
        self.out_type = out_type
        self._model_name = model_name
        self._checkpoint_path = checkpoint_path
        self._options = kwargs if img_size is None else dict(kwargs, img_size=img_size)
        self._pretrained = pretrained
        self.with_head = with_head
        self.model = _create_plain_vit(model_name, self._options, with_head)
        self.model.set_grad_checkpointing(with_cp)
        self.with_cp = with_cp
        use_fast_linear(self.model)
        reuse_mlp_buffers(self.model)
        self.embed_dims = self.model.embed_dim
        self.num_layers = len(self.model.blocks)
        self.out_indices = check_out_indices(out_indices, self.num_layers)
        if out_type != 'featmap' and (with_similarity_map or self.out_indices != (self.num_layers - 1,)):
            raise ValueError("out_indices and with_similarity_map need out_type='featmap'")
        self.with_similarity_map = with_similarity_map
        self.patch_size = tuple(self.model.patch_embed.patch_size)
        self._only_size = None if self.model.patch_embed.dynamic_img_pad else tuple(self.model.patch_embed.img_size)
        self.has_cls_token = getattr(self.model, 'cls_token', None) is not None
        self._is_plain = self.has_cls_token and _runs_plainly(self.model)
        self._check_blocks(class_token_blocks, is_single=out_type == 'featmap' or merged_tokens > 0 or with_head)
        self.class_token_blocks = class_token_blocks
        self.num_extra_tokens = self.model.num_prefix_tokens + class_token_blocks - int(self.has_cls_token)
        if merged_tokens < 0 or (merged_tokens and not self._is_plain):
            raise ValueError(f'merged_tokens must be 0 or more, and 0 for {model_name}, got {merged_tokens}')
        self.merged_tokens = merged_tokens
        if not final_norm:
            self.model.norm = self.model.fc_norm = nn.Identity()
        if crop_cls_token and not self._is_plain:
            raise GLSimError(
                f'crop_cls_token=True needs a plain ViT with a CLS token, which {model_name} is not: remove it.'
            )
        self.crop_cls_token = nn.Parameter(self.model.cls_token.detach().clone()) if crop_cls_token else None
        self._register_load_state_dict_pre_hook(self._copy_cls_token_for_crops)
        check_frozen_stages(frozen_stages, self.num_layers)
        self.frozen_stages = frozen_stages
        if frozen_stages > 0:
            self._freeze_stages()

    def _check_blocks(self, count: int, is_single: bool) -> None:
        if not 1 <= count <= self.num_layers:
            raise ValueError(f'class_token_blocks must be 1 to {self.num_layers}, the number of blocks, got {count}')
        if count > 1 and (is_single or not self.has_cls_token):
            reason = (
                'and neither featmap, merged_tokens nor with_head' if is_single else f'as {self._model_name} has none'
            )
            raise GLSimError(
                f'class_token_blocks={count} needs a CLS token, {reason}: set model.backbone.class_token_blocks=1.'
            )

    def forward(self, images: Tensor, is_crop: bool = False, output: str = 'tokens') -> tuple[Tensor, ...]:
        """Encode normalised images (B, 3, H, W) of at least one patch; for the others see :meth:`GLSimViT.forward`.

        Blocks that compute more than a plain ViT's (rotary embeddings) are run whole.

        Returns:
            One item: (B, P0 + N, C), CLS token (or mean patch token) first, then the CLS tokens of earlier blocks and
            any registers, then the patches row by row; or (B, C) for ``out_type='cls_token'``. For ``'featmap'`` one
            (B, C, ceil(H / P), ceil(W / P)) per ``out_indices``, that of the last layer behind the final norm; then the
            similarity map, float32 (B, 1, h, w) in [-1, 1] without gradient, if asked for. For
            ``output='class_token'`` the CLS tokens (B, class_token_blocks, C).
        """
        check_image_size(images.shape[-2:], self.patch_size)
        if self._only_size not in (None, tuple(images.shape[-2:])):
            raise GLSimError(
                f'{self._model_name} has positions for images and crops of {self._only_size} px only, and got '
                f'{tuple(images.shape[-2:])}: set model.backbone.img_size to the size of the pipeline and leave '
                'model.neck.crop_size at None.'
            )
        if self.out_type == 'featmap':
            return self._feature_maps(images)
        wanted = 'class_token' if self.out_type == 'cls_token' else output
        own_token = self.crop_cls_token if is_crop else None
        if self._is_plain and (wanted != 'tokens' or own_token is not None or self.class_token_blocks > 1):
            tokens = self._run_partly(images, wanted, own_token, is_crop)
        elif self.class_token_blocks > 1:
            tokens = self._run_whole(images)
        else:
            tokens = self.model.forward_features(images)
        # fc_norm is the identity wherever norm is not, so each token passes exactly one final norm.
        tokens = self._with_cls_token(self.model.fc_norm(tokens))
        if self.out_type == 'cls_token':
            return (tokens[:, 0] if self.class_token_blocks == 1 else self.image_features(tokens),)
        return (tokens[:, : self.class_token_blocks] if output == 'class_token' else tokens,)

    def encode_images(self, images: Tensor) -> Tensor:
        """Tokens (B, P0 + N, C) of images from which regions are to be selected; only the CLS token has gradient."""
        return self(images, output='selection_tokens')[-1]

    def encode_crops(self, crops: Tensor) -> Tensor:
        """CLS token (B, C) of each crop (arXiv 2407.12891, section 3.3)."""
        # Through __call__, so that a compiled backbone and forward hooks serve this pass too.
        tokens = self(crops, is_crop=True, output='tokens' if self._pools else 'class_token')[-1]
        return self.image_features(tokens)

    def image_features(self, tokens: Tensor) -> Tensor:
        """What stands for an image (B, D), of its tokens (B, P0 + N, C): the CLS token, or what the head makes of all.

        With ``class_token_blocks``, the sum of so many CLS tokens, each of length 1. Of a head that does not pool, the
        CLS tokens (B, 1, C) are enough.
        """
        if self.class_token_blocks > 1:
            return F.normalize(tokens[:, : self.class_token_blocks].float(), dim=-1).sum(dim=1)
        if not self.with_head:
            return tokens[:, 0]
        own = tokens if self.has_cls_token else tokens[:, 1:]  # without the mean of the patches
        return self.model.forward_head(own)

    @property
    def _pools(self) -> bool:
        return getattr(self.model, 'attn_pool', None) is not None

    def _run_partly(self, images: Tensor, wanted: str, cls_token: Tensor | None, is_crop: bool) -> Tensor:
        """timm's ``forward_features`` with another CLS token, or a last block that does no more than is needed."""
        model = self.model
        embedder = model if cls_token is None else _WithClsToken(model, cls_token)
        x = type(model)._pos_embed(embedder, model.patch_embed(images))
        x = model.norm_pre(model.patch_drop(x))
        *blocks, last = model.blocks
        bias, earlier = None, []
        if is_crop and wanted == 'class_token' and self.merged_tokens:
            x, bias = merge_tokens(blocks, x, self.num_extra_tokens, self.merged_tokens, self._run)
        else:
            for index, block in enumerate(blocks):
                x = self._run(block, x)
                if index >= self.num_layers - self.class_token_blocks:
                    earlier.insert(0, x[:, :1])
        if wanted == 'class_token':
            x = self._run(class_token_of, last, x, bias)
        else:
            x = self._run(detach_patches, last, x) if wanted == 'selection_tokens' else self._run(last, x)
        return model.norm(_join_class_tokens(x, earlier))

    def _run_whole(self, images: Tensor) -> Tensor:
        """Tokens of a model that runs its blocks in its own way, with the CLS tokens of earlier ones."""
        indices = range(self.num_layers - self.class_token_blocks, self.num_layers - 1)
        x, found = self.model.forward_intermediates(
            images, indices=list(indices), return_prefix_tokens=True, norm=True, output_fmt='NLC'
        )
        return _join_class_tokens(x, [prefix[:, :1] for _, prefix in reversed(found)])

    def _run(self, step: Callable, *args) -> Any:
        """One block; its activations are computed again in the backward pass if asked for."""
        if self.with_cp and self.training and torch.is_grad_enabled():
            return checkpoint(step, *args, use_reentrant=False)
        return step(*args)

    def _feature_maps(self, images: Tensor) -> tuple[Tensor, ...]:
        tokens, maps = self.model.forward_intermediates(images, indices=list(self.out_indices))
        tokens = self._with_cls_token(self.model.fc_norm(tokens))
        patches, grid = tokens[:, self.num_extra_tokens :], maps[-1].shape[-2:]
        if self.out_indices[-1] == self.num_layers - 1:
            maps[-1] = tokens_to_map(patches, grid)
        if self.with_similarity_map:
            maps.append(similarity_map(tokens[:, 0], patches, grid))
        return tuple(maps)

    def _with_cls_token(self, tokens: Tensor) -> Tensor:
        if self.has_cls_token:
            return tokens
        return torch.cat((tokens[:, self.model.num_prefix_tokens :].mean(dim=1, keepdim=True), tokens), dim=1)

    def init_weights(self) -> None:
        """Load pretrained weights: those of ``checkpoint_path``, of ``pretrained``, or of ``init_cfg``.

        mmengine's Runner calls this before training. Testing and prediction, whose weights come from a checkpoint of
        the whole model, need neither file nor hub. Without pretrained weights the model keeps timm's initialisation.
        """
        # mmengine would otherwise call timm's own init_weights on the child.
        if self.is_init:  # by LoRAModel, which changes names
            return
        if self._checkpoint_path:
            try:  # timm's own ``pretrained`` path would pass over missing tensors in silence
                load_timm_vit(self.model, self._checkpoint_path, crop_cls_token=self.crop_cls_token)
            except GLSimError as error:
                raise GLSimError(
                    f'TimmViT cannot load {self._checkpoint_path} into {self._model_name!r}: {error}'
                ) from error
        elif self._pretrained:
            source = _create_plain_vit(self._model_name, self._options, self.with_head, pretrained=True)
            weights = check_finite(source.state_dict(), f'timm://{self._model_name}')
            own = self.model.state_dict()  # without the final norm, if it is not wanted
            self.model.load_state_dict({name: tensor for name, tensor in weights.items() if name in own})
            if self.crop_cls_token is not None:
                self.crop_cls_token.data.copy_(self.model.cls_token)
        elif isinstance(self.init_cfg, dict) and self.init_cfg['type'] == 'Pretrained':
            load_timm_vit(self.model, self.init_cfg['checkpoint'], self.init_cfg.get('prefix'), self.crop_cls_token)
        elif self.init_cfg:
            super().init_weights()
        self._is_init = True

    def _copy_cls_token_for_crops(self, state_dict: dict, prefix: str, *args) -> None:
        """Start the crops' CLS token from the image's when a checkpoint lacks it."""
        source, target = f'{prefix}model.cls_token', f'{prefix}crop_cls_token'
        if self.crop_cls_token is not None and target not in state_dict and source in state_dict:
            state_dict[target] = state_dict[source].clone()

    def train(self, mode: bool = True) -> 'TimmViT':
        """Set the mode; frozen stages stay in eval mode, so that dropout does not act in them."""
        super().train(mode)
        if mode and self.frozen_stages > 0:
            self._freeze_stages()
        return self

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter for layer-wise learning rate decay, 0 for the stem, and the number of depths."""
        num_depths = self.num_layers + 2
        if param_name == f'{prefix}crop_cls_token':
            return 0, num_depths
        prefix = f'{prefix}model.'
        if not param_name.startswith(prefix):
            return num_depths - 1, num_depths
        name = param_name[len(prefix) :]
        if name.startswith(_STEM_PARAMETERS):
            return 0, num_depths
        if name.startswith('blocks.'):
            return int(name.split('.')[1]) + 1, num_depths
        return num_depths - 1, num_depths

    def _freeze_stages(self) -> None:
        frozen = [module for name in _STEM if (module := getattr(self.model, name, None)) is not None]
        frozen += list(self.model.blocks[: self.frozen_stages])
        if self.frozen_stages >= self.num_layers:
            frozen += [self.model.norm, self.model.fc_norm]
        for module in frozen:
            module.eval().requires_grad_(False)
        for name, parameter in self.model.named_parameters(recurse=False):
            if name in _STEM_PARAMETERS:
                parameter.requires_grad = False
        if self.crop_cls_token is not None:
            self.crop_cls_token.requires_grad = False


def _join_class_tokens(tokens: Tensor, earlier: list[Tensor]) -> Tensor:
    """Tokens (B, L, C) with CLS tokens of earlier blocks, each (B, 1, C), behind the own."""
    return torch.cat([tokens[:, :1], *earlier, tokens[:, 1:]], dim=1) if earlier else tokens


class _WithClsToken:
    """A model of timm with another CLS token, for ``_pos_embed``; the model itself goes on serving other threads."""

    def __init__(self, model: nn.Module, cls_token: Tensor) -> None:
        self._model = model
        self.cls_token = cls_token

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def _create_plain_vit(model_name: str, options: dict, with_head: bool = False, pretrained: bool = False) -> nn.Module:
    """timm model, without classifier or head; its position embedding follows the image size, if it has one."""
    import timm

    try:
        arch = model_name.partition('.')[0]
        is_fixed = timm.is_model(arch) and timm.models.model_entrypoint(arch).__module__.endswith(_FIXED_SIZE)
        sizes = {} if is_fixed else dict(dynamic_img_size=True)
        outputs = {} if with_head else dict(num_classes=0)
        model = timm.create_model(model_name, pretrained=pretrained, **outputs, **sizes, **options)
    except TypeError as error:
        if 'dynamic_img_size' not in str(error):
            raise
        raise GLSimError(_NOT_PLAIN.format(model_name)) from error
    except OSError as error:
        raise GLSimError(
            f'TimmViT cannot fetch the weights of {model_name!r} from the hub; check the connection, or give a local '
            'file as backbone.checkpoint_path and set backbone.pretrained=False.'
        ) from error
    except RuntimeError as error:
        raise GLSimError(f'TimmViT cannot build {model_name!r}: {one_line(error, 300)}') from error
    if not all(hasattr(model, name) for name in ('blocks', 'patch_embed', 'num_prefix_tokens', 'fc_norm')):
        raise GLSimError(_NOT_PLAIN.format(model_name))
    if not isinstance(model.patch_embed, timm.layers.PatchEmbed):
        raise GLSimError(
            f'{model_name!r} is a hybrid: its tokens come from a convolutional stem '
            f'({type(model.patch_embed).__name__}), so none of them is a patch of the image that could be cropped; '
            'take a plain ViT, see timm.list_models("vit*patch*").'
        )
    if with_head and not isinstance(model.fc_norm, nn.Identity):
        raise GLSimError(f'{model_name!r} has no projection and no pooling by attention: leave with_head=False.')
    # Pooling by attention is not used, and parameters without gradient break distributed training.
    if not with_head and getattr(model, 'attn_pool', None) is not None:
        model.attn_pool = None
    model.patch_embed.dynamic_img_pad = not is_fixed
    return model


def _runs_plainly(model: nn.Module) -> bool:
    """Whether tokens take the way of timm's own ViT, on which only attention leads from one to another."""
    from timm.models.vision_transformer import VisionTransformer

    return type(model).forward_features is VisionTransformer.forward_features
