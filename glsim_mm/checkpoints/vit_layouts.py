"""Which project's names a file has, told by the names."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from ..errors import GLSimError
from .authors_names import read_official_backbone
from .authors_timm import CROP_TOKEN, read_timm_variant_backbone
from .published_names import (
    read_clip,
    read_dinov2,
    read_dinov3,
    read_google_npz,
    read_hf_clip,
    read_hf_dinov2,
    read_hf_dinov3,
    read_hf_siglip,
    read_hf_vit,
    read_timm,
)
from .vit_names import Renamed, from_mmpretrain, rename
from .vit_weights import VitWeights, check_blocks, naming

# Names of a linear classifier on the CLS token, which stand outside the encoder's prefix.
_HEADS = (
    (r'classifier\.(weight|bias)', r'head.\1'),
    (r'head\.fc\.(weight|bias)', r'head.\1'),
    (r'head\.layers\.head\.(weight|bias)', r'head.\1'),
)
_NUM_NAMED = 3


class Layout(NamedTuple):
    """The names of one kind of model.

    >>> find_layout(weights)[0].kind
    'hf-dinov2'

    Attributes:
        kind: What it is called in reports; starts with its key in :data:`LAYOUTS`.
        markers: Names that together only files of this layout have, without prefix.
        read: Gives the encoder timm's names.
    """

    kind: str
    markers: tuple[str, ...]
    read: Callable[[Mapping[str, Tensor]], Renamed]


# In order: the first whose markers are all there is taken.
LAYOUTS: dict[str, tuple[Layout, ...]] = {
    'glsim': (
        Layout('glsim', ('encoder.blocks.0.attn.proj_q.weight', 'class_token'), read_official_backbone),
        Layout('glsim-timm', (CROP_TOKEN, 'blocks.0.attn.qkv.weight'), read_timm_variant_backbone),
    ),
    'vit-npz': (Layout('vit-npz', ('Transformer/encoder_norm/scale',), read_google_npz),),
    'clip': (Layout('clip', ('conv1.weight', 'transformer.resblocks.0.ln_1.weight'), read_clip),),
    'hf': (
        Layout('hf-clip', ('embeddings.class_embedding', 'encoder.layers.0.self_attn.q_proj.weight'), read_hf_clip),
        Layout('hf-siglip', ('head.probe', 'encoder.layers.0.self_attn.q_proj.weight'), read_hf_siglip),
        Layout('hf-vit', ('embeddings.cls_token', 'encoder.layer.0.layernorm_before.weight'), read_hf_vit),
        Layout('hf-dinov2', ('embeddings.cls_token', 'encoder.layer.0.norm1.weight'), read_hf_dinov2),
        Layout('hf-dinov3', ('embeddings.cls_token', 'layer.0.attention.q_proj.weight'), read_hf_dinov3),
        Layout('hf-dinov3', ('embeddings.cls_token', 'model.layer.0.attention.q_proj.weight'), read_hf_dinov3),
    ),
    'mmpretrain': (Layout('mmpretrain', ('patch_embed.projection.weight', 'layers.0.ln1.weight'), from_mmpretrain),),
    'dinov3': (Layout('dinov3', ('storage_tokens', 'blocks.0.attn.qkv.weight'), read_dinov3),),
    'dinov2': (
        Layout('dinov2', ('mask_token', 'pos_embed', 'blocks.0.ls1.gamma'), read_dinov2),
        Layout('dinov2', ('mask_token', 'pos_embed', 'blocks.0.0.ls1.gamma'), read_dinov2),
        Layout('dinov2', ('register_tokens', 'pos_embed', 'blocks.0.norm1.weight'), read_dinov2),
    ),
    'timm': (Layout('timm', ('patch_embed.proj.weight', 'blocks.0.norm1.weight'), read_timm),),
}


def find_layout(names: Mapping[str, Tensor], among: str | None = None) -> tuple[Layout, str] | None:
    """Tell a file's layout, and the prefix of the encoder in it, by its names; None if no layout fits.

    ``among`` is the only layout to consider, a key of :data:`LAYOUTS`; by default all are.
    """
    for name in LAYOUTS if among is None else [among]:
        for layout in LAYOUTS[name]:
            prefixes = _prefixes(names, layout.markers)
            if prefixes:
                return layout, prefixes[0]
    return None


def read_vit(tensors: Mapping[str, Tensor], source: str, layout: str | None = None) -> VitWeights:
    """The encoder in a file, and its linear classifier if it has one, under timm's names, whatever its own are.

    Args:
        tensors: What the file holds.
        source: What errors call the file.
        layout: The key of :data:`LAYOUTS` to expect. By default the names tell.

    Raises:
        GLSimError: If the layout is unknown or not the expected one, or tensors are missing.
    """
    if layout is not None and layout not in LAYOUTS:
        raise GLSimError(f'there is no layout {layout!r}; choose one of {", ".join(LAYOUTS)}')
    found = find_layout(tensors, layout)
    if found is None:
        some = ', '.join(list(tensors)[:_NUM_NAMED]) or 'none'
        wanted = 'any layout that is known' if layout is None else f'the layout {layout!r}'
        hint = f'known are {", ".join(LAYOUTS)}' if layout is None else 'leave the layout out to have it detected'
        raise GLSimError(f'{source} does not hold a ViT in {wanted} (its first names are {some}); {hint}')
    reader, prefix = found
    inside = {key[len(prefix) :]: tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    with naming(source):
        encoder, left_out = reader.read(inside)
        # The models of GLSim's authors, and ours after them, may have no final norm.
        is_glsim = reader.kind.startswith('glsim') or prefix in ('backbone.', 'backbone.model.')
        check_blocks(encoder, needs_norm=not is_glsim)
    others = {prefix + key: inside[key] for key in left_out}
    others.update({key: tensor for key, tensor in tensors.items() if not key.startswith(prefix)})
    head, rest = rename(others, _HEADS)
    # The classifier on the CLS token alone is no aggregator's, and as wide as the encoder.
    width = encoder['patch_embed.proj.weight'].shape[0]
    if 'head.weight' not in head or head['head.weight'].shape[-1] != width or 'head.norm.weight' in others:
        head, rest = {}, list(others)
    return VitWeights({**encoder, **head}, reader.kind, rest)


def _prefixes(names: Mapping[str, Tensor], markers: tuple[str, ...]) -> list[str]:
    """Prefixes under which all markers are in the file; a teacher's before a student's, short ones before long ones."""
    candidates = [name.removesuffix(markers[0]) for name in names if name.endswith(markers[0])]
    whole = [start for start in candidates if all(start + marker in names for marker in markers)]
    prefixes = [start for start in whole if not start or start[-1] in './']
    return sorted(prefixes, key=lambda prefix: (bool(prefix), 'teacher' not in prefix, len(prefix)))
