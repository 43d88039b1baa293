import pytest
import timm
import torch
from mmpretrain.models.backbones import VisionTransformer
from mmpretrain.models.selfsup import MAEViT
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from torch import nn

from glsim_mm.errors import GLSimError
from glsim_mm.models import GLSimViT

ARCH = dict(embed_dims=32, num_layers=3, num_heads=2, feedforward_channels=64)


def small_vit(**kwargs) -> GLSimViT:
    return GLSimViT(**{'arch': ARCH, 'img_size': 32, 'patch_size': 8, **kwargs})


@pytest.mark.parametrize(
    ('arch', 'width', 'depth', 'heads'),
    [
        ('vit-tiny', 192, 12, 3),
        ('vit-small', 384, 12, 6),
        ('vit-base', 768, 12, 12),
        ('vit-large', 1024, 24, 16),
        ('vit-huge', 1280, 32, 16),
    ],
)
def test_sizes_of_the_literature(arch, width, depth, heads):
    with torch.device('meta'):
        vit = GLSimViT(arch=arch)
    assert (vit.embed_dims, vit.num_layers, vit.layers[0].attn.num_heads) == (width, depth, heads)


@pytest.mark.parametrize('patch', [8, 14, 16, 32])
@pytest.mark.parametrize(('height', 'width'), [(64, 64), (65, 40), (33, 96)])
def test_raw_tokens_of_any_size(patch, height, width):
    vit = small_vit(patch_size=patch, img_size=4 * patch)
    (tokens,) = vit(torch.randn(2, 3, height, width))
    assert tokens.shape == (2, 1 + -(-height // patch) * -(-width // patch), 32)


def test_loads_the_parents_checkpoint_and_gives_its_output():
    torch.manual_seed(0)
    parent = VisionTransformer(arch=ARCH, img_size=32, patch_size=8, out_type='raw')
    parent.eval()
    nn.init.normal_(parent.pos_embed)
    vit = small_vit().eval()
    assert vit.load_state_dict(parent.state_dict(), strict=True)
    images = torch.randn(2, 3, 32, 48)
    assert torch.equal(vit(images)[-1], parent(images)[-1])


def test_position_embedding_of_another_size_is_resized_at_loading():
    vit = small_vit(img_size=64)
    vit.load_state_dict(small_vit().state_dict())
    assert vit.pos_embed.shape == (1, 65, 32)


def test_mae_pretrained_weights_load():
    mae = MAEViT(arch=ARCH, img_size=32, patch_size=8)
    vit = small_vit()
    result = vit.load_state_dict(mae.state_dict(), strict=True)
    assert not result.missing_keys
    assert torch.equal(vit.pos_embed, mae.pos_embed)


def test_crops_have_their_own_cls_token_when_asked():
    plain = small_vit().eval()
    nn.init.normal_(plain.pos_embed)
    nn.init.normal_(plain.cls_token)
    vit = small_vit(crop_cls_token=True).eval()
    vit.load_state_dict(plain.state_dict(), strict=True)
    crops = torch.randn(2, 3, 32, 32)
    assert torch.equal(vit.encode_crops(crops), plain.encode_crops(crops))  # starts as a copy
    with torch.no_grad():
        vit.crop_cls_token.normal_()
    assert not torch.allclose(vit.encode_crops(crops), plain.encode_crops(crops))
    assert torch.equal(vit(crops)[-1], plain(crops)[-1])
    reloaded = small_vit(crop_cls_token=True)
    reloaded.load_state_dict(vit.state_dict())
    assert torch.equal(reloaded.crop_cls_token, vit.crop_cls_token)


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = []
    images = torch.randn(2, 3, 32, 32)
    state = small_vit().state_dict()
    for with_cp in (False, True):
        vit = small_vit(with_cp=with_cp, drop_path_rate=0.5)
        vit.load_state_dict(state)
        torch.manual_seed(3)
        vit.train()(images)[-1].square().mean().backward()
        gradients.append([parameter.grad for parameter in vit.parameters()])
    for one, other in zip(*gradients):
        torch.testing.assert_close(one, other)


def test_frozen_stages_keep_still_and_in_eval_mode():
    vit = small_vit(frozen_stages=2, drop_path_rate=0.5, crop_cls_token=True).train()
    vit(torch.randn(2, 3, 32, 32))[-1].mean().backward()
    trained = {name.split('.')[0] + name.split('.')[1] for name, p in vit.named_parameters() if p.grad is not None}
    assert trained == {'layers2', 'ln1weight', 'ln1bias'}
    assert [layer.training for layer in vit.layers] == [False, False, True]


def test_layer_depths_for_lr_decay():
    vit = small_vit(crop_cls_token=True)
    depths = {name: vit.get_layer_depth(f'backbone.{name}', 'backbone.')[0] for name, _ in vit.named_parameters()}
    assert depths['cls_token'] == depths['crop_cls_token'] == depths['patch_embed.projection.weight'] == 0
    assert depths['layers.2.ln1.weight'] == 3
    assert depths['ln1.weight'] == 4
    assert vit.get_layer_depth('head.fc.weight', 'backbone.') == (4, 5)


def test_image_smaller_than_a_patch():
    with pytest.raises(GLSimError, match='7x32 pixels is smaller than one patch of 8x8'):
        small_vit()(torch.randn(1, 3, 7, 32))


def test_crop_cls_token_needs_a_cls_token():
    with pytest.raises(ValueError, match='with_cls_token'):
        small_vit(crop_cls_token=True, with_cls_token=False, out_type='raw')


def test_pretrained_checkpoint_must_fit_the_backbone(tmp_path):
    def init_cfg(**arch):
        torch.save({'state_dict': small_vit(arch={**ARCH, **arch}).state_dict()}, tmp_path / 'weights.pth')
        return dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth'))

    small_vit(init_cfg=init_cfg()).init_weights()
    with pytest.raises(GLSimError, match='another architecture'):
        small_vit(init_cfg=init_cfg(embed_dims=64)).init_weights()


def test_pretrained_weights_of_timm_are_resized_to_a_grid_of_as_many_patches(tmp_path):
    """4 x 4 patches become 2 x 8, which mmpretrain would take for the same."""
    source = timm.create_model('vit_tiny_patch16_224', embed_dim=32, depth=2, num_heads=2, patch_size=8, img_size=32)
    path = tmp_path / 'vit.safetensors'
    save_file({name: tensor.clone() for name, tensor in source.state_dict().items()}, path)
    for address in (str(path), f'timm://{path}', f'vit://{path}'):
        init_cfg = dict(type='Pretrained', checkpoint=address, prefix='backbone.')
        arch = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=128)
        vit = small_vit(arch=arch, img_size=(16, 64), init_cfg=init_cfg)
        vit.init_weights()
        expected = resample_abs_pos_embed(source.pos_embed, new_size=(2, 8), old_size=(4, 4))
        torch.testing.assert_close(vit.pos_embed, expected)
        torch.testing.assert_close(vit.layers[1].attn.qkv.bias, source.blocks[1].attn.qkv.bias)
