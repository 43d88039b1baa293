import pytest
import timm
import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample
from safetensors.torch import load_file, save_file

from glsim_mm.errors import GLSimError
from glsim_mm.models import GLSimClassifier, TimmViT

# name, leading tokens (a mean token counts as one), options that make the model small
FAMILIES = [
    ('vit_small_patch14_dinov2', 1, {}),
    ('vit_small_patch14_reg4_dinov2', 5, {}),
    ('vit_small_patch16_dinov3', 5, {}),
    ('vit_base_patch32_clip_224', 1, dict(embed_dim=96, num_heads=3)),
    ('eva02_tiny_patch14_224', 1, {}),
    ('deit3_small_patch16_224', 1, {}),
    ('deit_tiny_distilled_patch16_224', 2, {}),
    ('vit_base_patch16_siglip_224', 1, dict(embed_dim=96, num_heads=3)),
    ('vit_medium_patch16_reg4_gap_256', 5, dict(embed_dim=96, num_heads=3)),
]


@pytest.mark.parametrize(('name', 'num_extra_tokens', 'options'), FAMILIES)
def test_every_family_gives_raw_tokens_of_any_size(name, num_extra_tokens, options):
    vit = TimmViT(name, depth=2, **options)
    patch = vit.patch_size[0]
    (tokens,) = vit(torch.randn(2, 3, 3 * patch, 4 * patch + 1))
    assert vit.num_extra_tokens == num_extra_tokens
    assert tokens.shape == (2, num_extra_tokens + 3 * 5, vit.embed_dims)
    # Every parameter gets a gradient; an unused one would stop distributed training.
    tokens.square().mean().backward()
    unused = [n for n, p in vit.named_parameters() if p.grad is None and not n.endswith('mask_token')]
    assert not unused


def test_tokens_are_those_of_timm():
    vit = TimmViT('vit_small_patch14_reg4_dinov2', depth=2, img_size=56).eval()
    plain = timm.create_model('vit_small_patch14_reg4_dinov2', depth=2, img_size=56, num_classes=0).eval()
    plain.load_state_dict(vit.model.state_dict())
    images = torch.randn(2, 3, 56, 56)
    torch.testing.assert_close(vit(images)[-1], plain.forward_features(images), atol=1e-4, rtol=1e-4)


def test_mean_token_stands_in_for_a_missing_cls_token():
    vit = TimmViT('vit_base_patch16_siglip_224', depth=1, embed_dim=96, num_heads=3).eval()
    tokens = vit(torch.randn(1, 3, 32, 48))[-1]
    torch.testing.assert_close(tokens[:, 0], tokens[:, 1:].mean(dim=1))


def test_local_checkpoint_is_loaded_and_resized(tmp_path):
    big = timm.create_model('vit_tiny_patch16_224', depth=1, num_classes=5)
    path = tmp_path / 'weights.safetensors'
    save_file({name: tensor.half() for name, tensor in big.state_dict().items()}, path)
    vit = TimmViT('vit_tiny_patch16_224', depth=1, img_size=64, checkpoint_path=str(path))
    vit.init_weights()  # as mmengine's Runner does before training
    assert vit.model.pos_embed.shape == (1, 17, 192) and vit.model.pos_embed.dtype == torch.float32
    expected = big.blocks[0].attn.qkv.weight.half().float()
    assert torch.equal(vit.model.blocks[0].attn.qkv.weight, expected)


def test_building_a_model_needs_no_weights(tmp_path):
    """A trained checkpoint replaces them: testing must work where the file or the hub is out of reach."""
    vit = TimmViT('vit_tiny_patch16_224', depth=1, pretrained=True, checkpoint_path=str(tmp_path / 'gone.safetensors'))
    assert vit(torch.randn(1, 3, 32, 32))[-1].shape == (1, 5, 192)


def test_supplied_dinov2_weights_equal_timms_forward(shared_root, tmp_path):
    path = str(shared_root / 'weights' / 'vit_small_patch14_saliency_timm_fp16.safetensors')
    vit = TimmViT('vit_small_patch14_dinov2.lvd142m', img_size=112, checkpoint_path=path).eval()
    vit.init_weights()
    # timm would round the resized position embedding of a float16 file to float16, which is 9e-4 in the tokens.
    full = str(tmp_path / 'full.safetensors')
    save_file({name: tensor.float() for name, tensor in load_file(path).items()}, full)
    plain = timm.create_model(
        'vit_small_patch14_dinov2', img_size=112, num_classes=0, pretrained=True, pretrained_cfg_overlay=dict(file=full)
    ).eval()
    images = torch.randn(1, 3, 112, 112)
    with torch.no_grad():
        torch.testing.assert_close(vit(images)[-1], plain.forward_features(images), atol=1e-4, rtol=1e-4)


def test_checkpoint_that_does_not_fit(tmp_path):
    path = tmp_path / 'weights.safetensors'
    save_file({'something.else': torch.zeros(3)}, path)
    with pytest.raises(GLSimError, match='weights.safetensors into .vit_tiny_patch16_224'):
        TimmViT('vit_tiny_patch16_224', depth=1, checkpoint_path=str(path)).init_weights()
    with pytest.raises(GLSimError, match='missing.safetensors'):
        TimmViT('vit_tiny_patch16_224', depth=1, checkpoint_path=str(tmp_path / 'missing.safetensors')).init_weights()


@pytest.mark.parametrize('name', ['resnet18', 'samvit_base_patch16_224', 'cait_xxs24_224'])
def test_models_that_are_no_plain_vit_are_refused(name):
    with pytest.raises(GLSimError, match='not a plain ViT'):
        TimmViT(name, img_size=32)


@pytest.mark.parametrize(
    'name', ['vit_small_r26_s32_224', 'vit_base_r50_s16_224', 'vit_base_mci_224', 'vitamin_small_224']
)
def test_hybrids_are_refused_with_the_reason(name):
    with pytest.raises(GLSimError, match=f'{name}.* is a hybrid: its tokens come from a convolutional stem .Hybrid'):
        TimmViT(name, depth=1) if name != 'vitamin_small_224' else TimmViT(name)


# name, leading tokens, options that make the model small
FIXED_SIZE = [
    ('beit_base_patch16_224', 1, dict(embed_dim=96, num_heads=3)),
    ('beitv2_base_patch16_224', 1, dict(embed_dim=96, num_heads=3)),
    ('vit_relpos_base_patch16_cls_224', 1, dict(embed_dim=96, num_heads=3)),
    ('vit_relpos_small_patch16_224', 1, dict(embed_dim=96, num_heads=3)),  # without a CLS token
]


@pytest.mark.parametrize(('name', 'num_extra_tokens', 'options'), FIXED_SIZE)
def test_relative_positions_serve_one_size(name, num_extra_tokens, options, tmp_path):
    plain = timm.create_model(name, depth=2, img_size=(48, 64), num_classes=5, drop_path_rate=0.0, **options).eval()
    save_file(plain.state_dict(), tmp_path / 'w.safetensors')
    vit = TimmViT(name, depth=2, img_size=(48, 64), checkpoint_path=str(tmp_path / 'w.safetensors'), **options).eval()
    vit.init_weights()
    assert vit.num_extra_tokens == num_extra_tokens
    images = torch.randn(2, 3, 48, 64)
    (tokens,) = vit(images)
    assert tokens.shape == (2, num_extra_tokens + 12, 96)
    expected = plain.fc_norm(plain.forward_features(images))
    torch.testing.assert_close(tokens[:, -expected.shape[1] :], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(vit.encode_crops(images), tokens[:, 0])
    tokens.square().mean().backward()
    assert not [n for n, p in vit.named_parameters() if p.grad is None]
    with pytest.raises(GLSimError, match=r'positions for images and crops of \(48, 64\) px only, and got \(64, 64\)'):
        vit(torch.randn(1, 3, 64, 64))


def test_beit_is_resized_frozen_and_gives_maps(tmp_path):
    options = dict(depth=3, embed_dim=96, num_heads=3)
    big = timm.create_model('beit_base_patch16_224', img_size=64, **options)
    save_file(big.state_dict(), tmp_path / 'w.safetensors')
    options.update(img_size=48, checkpoint_path=str(tmp_path / 'w.safetensors'))
    vit = TimmViT('beit_base_patch16_224', out_type='featmap', out_indices=(0, 2), frozen_stages=1, **options).train()
    vit.init_weights()
    assert torch.equal(vit.model.blocks[1].mlp.fc1.weight, big.blocks[1].mlp.fc1.weight)
    assert [tuple(m.shape) for m in vit(torch.randn(1, 3, 48, 48))] == [(1, 96, 3, 3)] * 2
    frozen = {name for name, parameter in vit.named_parameters() if not parameter.requires_grad}
    assert {'model.cls_token', 'model.patch_embed.proj.weight', 'model.blocks.0.attn.qkv.weight'} <= frozen
    assert not any(name.startswith(('model.blocks.1', 'model.blocks.2')) for name in frozen)


@pytest.mark.parametrize('selector', ['GLSimSelector', 'ClassAttentionSelector'])
def test_beit_in_the_classifier(selector):
    options = dict(depth=2, embed_dim=64, num_heads=2, img_size=64)
    model = GLSimClassifier(
        backbone=dict(type='TimmViT', model_name='beit_base_patch16_224', **options),
        neck=dict(type=selector, top_o=3),
        head=dict(type='AggregatorHead', num_classes=5, in_channels=64),
    )
    samples = [DataSample().set_gt_label(i) for i in range(2)]
    assert model(torch.randn(2, 3, 64, 64), samples, mode='loss')['loss'].isfinite()
    predicted = model.eval()(torch.randn(2, 3, 64, 64), samples, mode='predict')
    assert predicted[0].similarity_map.shape == (4, 4)


def test_unknown_name_and_unknown_option():
    with pytest.raises(GLSimError, match='no_such_model'):
        TimmViT('no_such_model')
    with pytest.raises(TypeError, match='not_an_option'):
        TimmViT('vit_tiny_patch16_224', not_an_option=1)
    with pytest.raises(ValueError, match='out_type'):
        TimmViT('vit_tiny_patch16_224', depth=1, out_type='avg_featmap')


def test_frozen_stages_and_layer_depths():
    vit = TimmViT('vit_tiny_patch16_224', depth=3, img_size=32, frozen_stages=2, drop_path_rate=0.5).train()
    assert [block.training for block in vit.model.blocks] == [False, False, True]
    trained = {name for name, parameter in vit.named_parameters() if parameter.requires_grad}
    assert all(name.startswith(('model.blocks.2.', 'model.norm.')) for name in trained) and trained
    assert vit.get_layer_depth('backbone.model.pos_embed', 'backbone.') == (0, 5)
    assert vit.get_layer_depth('backbone.model.blocks.2.norm1.weight', 'backbone.') == (3, 5)
    assert vit.get_layer_depth('backbone.model.norm.weight', 'backbone.') == (4, 5)
    assert vit.get_layer_depth('head.fc.weight', 'backbone.') == (4, 5)


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = []
    images = torch.randn(2, 3, 32, 32)
    state = None
    for with_cp in (False, True):
        vit = TimmViT('vit_tiny_patch16_224', depth=2, img_size=32, with_cp=with_cp).train()
        state = state or vit.state_dict()
        vit.load_state_dict(state)
        vit(images)[-1].square().mean().backward()
        gradients.append([parameter.grad for parameter in vit.parameters()])
    for one, other in zip(*gradients):
        torch.testing.assert_close(one, other)


def test_cls_token_output():
    vit = TimmViT('vit_small_patch16_dinov3', depth=1).eval()
    images = torch.randn(2, 3, 32, 32)
    tokens = vit(images)[-1]
    vit.out_type = 'cls_token'
    assert torch.equal(vit(images)[-1], tokens[:, 0])


def test_layouts_of_other_projects(tmp_path):
    """Registers under the names of DINOv2's authors, by path, by address and by ``init_cfg``."""
    name, tiny = 'vit_small_patch14_reg4_dinov2', dict(depth=1, embed_dim=32, num_heads=2, img_size=28)
    source = timm.create_model(name, num_classes=0, **tiny)
    state = dict(source.state_dict(), mask_token=torch.zeros(1, 32))
    state['register_tokens'] = state.pop('reg_token')
    state['pos_embed'] = torch.cat([torch.zeros(1, 1, 32), state['pos_embed']], dim=1)
    path = str(tmp_path / 'dinov2.pth')
    torch.save(state, path)
    for options in (
        dict(checkpoint_path=path),
        dict(checkpoint_path=f'dinov2://{path}'),
        dict(init_cfg=dict(type='Pretrained', checkpoint=f'dinov2://{path}', prefix='backbone.')),
    ):
        vit = TimmViT(name, **tiny, **options)
        vit.init_weights()
        for key, tensor in source.state_dict().items():
            assert torch.equal(vit.model.state_dict()[key], tensor), key


SMALL = dict(depth=2, embed_dim=64, num_heads=1, img_size=28)


@torch.no_grad()
@pytest.mark.parametrize('name', ['vit_small_patch14_dinov2', 'vit_small_patch14_reg4_dinov2'])
def test_crops_have_a_cls_token_of_their_own(name):
    """As if the model's own had its value; images, and other threads, see the model's own."""
    vit = TimmViT(name, crop_cls_token=True, **SMALL).eval()
    assert torch.equal(vit.crop_cls_token, vit.model.cls_token)
    images = torch.randn(2, 3, 28, 28)
    before = vit(images)[-1]
    vit.crop_cls_token.normal_()
    assert torch.equal(vit(images)[-1], before)
    crops, class_token = vit(images, is_crop=True)[-1], vit.encode_crops(images)
    assert torch.equal(vit(images)[-1], before)
    vit.model.cls_token.copy_(vit.crop_cls_token)
    torch.testing.assert_close(vit(images)[-1], crops, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(crops[:, 0], class_token, atol=1e-5, rtol=1e-5)


def test_cls_token_of_crops_starts_as_the_images(tmp_path):
    plain = TimmViT('vit_small_patch14_dinov2', **SMALL)
    torch.nn.init.normal_(plain.model.cls_token)
    vit = TimmViT('vit_small_patch14_dinov2', crop_cls_token=True, **SMALL)
    vit.load_state_dict(plain.state_dict())
    assert torch.equal(vit.crop_cls_token, plain.model.cls_token)
    save_file(plain.model.state_dict(), tmp_path / 'w.safetensors')
    settings = dict(SMALL, crop_cls_token=True, final_norm=False, checkpoint_path=str(tmp_path / 'w.safetensors'))
    vit = TimmViT('vit_small_patch14_dinov2', frozen_stages=1, **settings)
    vit.init_weights()
    assert torch.equal(vit.crop_cls_token, plain.model.cls_token)
    assert not vit.crop_cls_token.requires_grad
    assert vit.get_layer_depth('crop_cls_token') == (0, 4)


@torch.no_grad()
def test_tokens_without_the_final_norm():
    vit = TimmViT('vit_small_patch14_dinov2', final_norm=False, **SMALL).eval()
    plain = TimmViT('vit_small_patch14_dinov2', **SMALL).eval()
    assert not [name for name in vit.state_dict() if name.startswith('model.norm.')]
    plain.load_state_dict(vit.state_dict(), strict=False)
    torch.nn.init.normal_(plain.model.norm.weight)
    images = torch.randn(2, 3, 28, 28)
    torch.testing.assert_close(plain.model.norm(vit(images)[-1]), plain(images)[-1])
    (features,) = TimmViT('vit_small_patch14_dinov2', final_norm=False, out_type='featmap', **SMALL)(images)
    assert features.shape == (2, 64, 2, 2)


@pytest.mark.parametrize('name', ['eva02_tiny_patch14_224', 'vit_base_patch16_siglip_224'])
def test_no_cls_token_of_their_own_for_crops_where_there_is_none(name):
    with pytest.raises(GLSimError, match=f'crop_cls_token=True needs a plain ViT.*{name}'):
        TimmViT(name, depth=1, crop_cls_token=True)


@torch.no_grad()
def test_cls_token_of_crops_compiles():
    vit = TimmViT('vit_small_patch14_dinov2', crop_cls_token=True, **SMALL).eval()
    vit.crop_cls_token.normal_()
    images = torch.randn(2, 3, 28, 28)
    compiled = torch.compile(vit, backend='eager', fullgraph=True)
    expected = vit(images, is_crop=True, output='class_token')[-1]
    torch.testing.assert_close(compiled(images, is_crop=True, output='class_token')[-1], expected)


@torch.no_grad()
@pytest.mark.parametrize(
    ('name', 'own'),
    [('vit_small_patch14_reg4_dinov2', {}), ('vit_small_patch16_dinov3', {}), ('vit_base_patch16_224', {})],
)
def test_class_tokens_of_the_last_blocks_are_added_up(name, own):
    """In one pass, whoever runs the blocks; regions are selected by tokens that have not changed."""
    options = dict(depth=3, embed_dim=32, num_heads=1, img_size=32, **own)
    vit, plain = TimmViT(name, class_token_blocks=2, **options).eval(), TimmViT(name, **options).eval()
    plain.load_state_dict(vit.state_dict())
    images = torch.randn(2, 3, 32, 32)
    tokens, expected = vit(images)[-1], plain(images)[-1]
    (found,) = plain.model.forward_intermediates(
        images, indices=[1], return_prefix_tokens=True, norm=True, intermediates_only=True
    )
    earlier = plain.model.fc_norm(found[1][:, 0])
    assert vit.num_extra_tokens == plain.num_extra_tokens + 1
    torch.testing.assert_close(torch.cat([tokens[:, :1], tokens[:, 2:]], dim=1), expected)
    torch.testing.assert_close(tokens[:, 1], earlier)
    whole = F.normalize(expected[:, 0], dim=-1) + F.normalize(earlier, dim=-1)
    torch.testing.assert_close(vit.encode_crops(images), whole, atol=1e-5, rtol=1e-5)
    only = TimmViT(name, class_token_blocks=2, out_type='cls_token', **options).eval()
    only.load_state_dict(vit.state_dict())
    torch.testing.assert_close(only(images)[-1], whole, atol=1e-5, rtol=1e-5)
    model = GLSimClassifier(backbone=vit, neck=dict(type='GLSimSelector', top_o=1), head=None).eval()
    class_tokens, regions, _ = model.encode(images)
    torch.testing.assert_close(class_tokens[:, 0], whole, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(class_tokens[:, 1], vit.encode_crops(regions.crops))


@pytest.mark.parametrize(
    ('name', 'options', 'error', 'message'),
    [
        ('vit_small_patch14_dinov2', dict(class_token_blocks=3), ValueError, 'must be 1 to 2, the number of blocks'),
        ('vit_small_patch14_dinov2', dict(out_type='featmap'), GLSimError, 'neither featmap'),
        ('vit_base_patch16_siglip_224', {}, GLSimError, 'vit_base_patch16_siglip_224 has none'),
    ],
)
def test_class_tokens_that_cannot_be_added_up(name, options, error, message):
    with pytest.raises(error, match=message):
        TimmViT(name, **{'class_token_blocks': 2, **SMALL, **options})
