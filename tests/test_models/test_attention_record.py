import pytest
import torch
import torch.nn.functional as F
from golden_files import build_golden_model, load_golden
from mmpretrain.registry import MODELS

from glsim_mm.errors import GLSimError
from glsim_mm.models import GLSimViT, TimmViT, record_attention
from glsim_mm.models.utils import check_attention

ARCH = dict(embed_dims=32, num_layers=3, num_heads=2, feedforward_channels=64)


def small_vit(**kwargs):
    return GLSimViT(arch=ARCH, img_size=32, patch_size=8, **kwargs).eval()


def test_matrices_are_those_of_the_authors_code(shared_root):
    import numpy as np

    model = build_golden_model(golden := load_golden(shared_root / 'golden', 'cos_96px_p16_top8'))
    with np.load(shared_root / 'golden' / 'selectors_96px.npz', allow_pickle=False) as file:
        expected = torch.from_numpy(file['attention_softmax'])
    with torch.no_grad(), record_attention() as record:
        model.backbone(golden.arrays['images'])
    assert len(record) == expected.shape[1]
    torch.testing.assert_close(torch.stack(list(record), dim=1), expected, atol=1e-5, rtol=0)


ENCODERS = {
    'GLSimViT': small_vit,
    'GLSimViT in training with recomputed layers': lambda: small_vit(with_cp=True).train(),
    'registers': lambda: TimmViT('vit_small_patch14_reg4_dinov2', depth=3, img_size=28),
    'rotated queries': lambda: TimmViT('vit_small_patch16_dinov3', depth=3, img_size=32),
    'mmpretrain DeiT-3': lambda: MODELS.build(
        dict(type='mmpretrain.DeiT3', arch=ARCH, img_size=32, patch_size=8, out_type='raw')
    ),
}


@pytest.mark.parametrize('make', ENCODERS.values(), ids=ENCODERS.keys())
def test_every_layer_is_recorded_and_nothing_changes(make):
    encoder = make()
    images = torch.randn(2, 3, 28 if 'reg4' in str(getattr(encoder, '_model_name', '')) else 32, 56)
    before = encoder(images)[-1]
    with record_attention() as record:
        tokens = encoder(images)[-1]
    torch.testing.assert_close(tokens, before)
    assert len(record) == 3
    check_attention(record, encoder, tokens, 'Test')
    for matrix in record:
        assert matrix.shape[-2:] == (tokens.shape[1], tokens.shape[1]) and not matrix.requires_grad
        torch.testing.assert_close(matrix.sum(dim=-1), torch.ones(matrix.shape[:-1]))


def test_recording_ends_with_the_block_and_can_be_nested():
    encoder, images = small_vit(), torch.randn(1, 3, 32, 32)
    with record_attention() as outer:
        encoder(images)
        with record_attention() as inner:
            encoder(images)
    encoder(images)
    assert len(outer) == 6 and len(inner) == 3


def test_masks_scales_and_slices():
    query, key, value = torch.randn(3, 1, 1, 4, 8).unbind(0)
    mask = torch.tensor([[True, True, False, True]])
    with record_attention() as record:
        F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=0.3)
        F.scaled_dot_product_attention(query, key, value)
    logits = (query @ key.transpose(-2, -1) * 0.3).masked_fill(~mask, float('-inf'))
    torch.testing.assert_close(record[0], logits.softmax(dim=-1))
    assert record.inputs[1].scale == pytest.approx(8**-0.5)
    assert [matrix.shape for matrix in record[:2]] == [(1, 1, 4, 4)] * 2


@pytest.mark.slow
def test_compiled_encoder():
    encoder, images = small_vit(), torch.randn(1, 3, 32, 32)
    with torch.no_grad(), record_attention() as expected:
        encoder(images)
    encoder.compile(backend='aot_eager')
    with torch.no_grad(), record_attention() as record:
        encoder(images)
    torch.testing.assert_close(list(record), list(expected))


def test_encoder_with_attention_of_its_own():
    encoder = TimmViT('vit_tiny_patch16_224', depth=2, img_size=32)
    for block in encoder.model.blocks:
        block.attn.fused_attn = False
    with record_attention() as record:
        tokens = encoder(torch.randn(1, 3, 32, 32))[-1]
    with pytest.raises(GLSimError, match='MAWSSelector needs the attention of every layer of TimmViT, which gave 0'):
        check_attention(record, encoder, tokens, 'MAWSSelector')


def test_encoder_without_cls_token():
    encoder = TimmViT('vit_base_patch16_siglip_224', depth=2, embed_dim=32, num_heads=1, img_size=32)
    with record_attention() as record:
        tokens = encoder(torch.randn(1, 3, 32, 32))[-1]
    with pytest.raises(GLSimError, match='attention from a CLS token'):
        check_attention(record, encoder, tokens, 'MAWSSelector')
