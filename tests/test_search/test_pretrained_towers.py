"""Frozen encoders of transformers and open_clip against these libraries' own features, with random weights."""

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny_run import call_tool

from glsim_mm.errors import UserError
from glsim_mm.search import FrozenEncoder, ImageSearch, frozen_encoder, frozen_settings

transformers = pytest.importorskip('transformers', reason='pip install ".[text]"')
open_clip = pytest.importorskip('open_clip', reason='pip install ".[text]"')

QUIET = ('--device', 'cpu', '--num-workers', 0, '--no-progress')
SPACES = ('global', 'crop', 'concat')
TEXTS = ['a red cap', 'blue']
VISION = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=96, patch_size=8)
TEXT = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, vocab_size=20)
TWO_TOWERS = dict(vision_config=dict(VISION, image_size=32), text_config=dict(TEXT, max_position_embeddings=8))
SINGLE = dict(VISION, image_size=32)


def randomised(model):
    """The model, with none of its weights at its starting value."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


def write_tokenizer(folder, eos=2):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {'<pad>': 1, '<eos>': eos, '<unk>': 0} | {word: 3 + i for i, word in enumerate('a red cap blue'.split())}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token='<unk>'))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single='$A <eos>', special_tokens=[('<eos>', eos)])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token='<pad>', eos_token='<eos>', unk_token='<unk>'
    )
    fast.save_pretrained(folder)
    return fast


def build_clip(act):
    config = transformers.CLIPConfig(**TWO_TOWERS, projection_dim=24)
    config.vision_config.hidden_act = config.text_config.hidden_act = act
    config.text_config.eos_token_id = 2
    return randomised(transformers.CLIPModel(config))


MODELS = {
    'clip': lambda: build_clip('quick_gelu'),
    'clip-gelu': lambda: build_clip('gelu'),
    'siglip': lambda: randomised(transformers.SiglipModel(transformers.SiglipConfig(**TWO_TOWERS))),
    'dinov2': lambda: randomised(transformers.Dinov2Model(transformers.Dinov2Config(**SINGLE, mlp_ratio=2))),
    'dinov2-swiglu': lambda: randomised(
        transformers.Dinov2Model(transformers.Dinov2Config(**SINGLE, mlp_ratio=4, use_swiglu_ffn=True))
    ),
    'registers': lambda: randomised(
        transformers.Dinov2WithRegistersModel(transformers.Dinov2WithRegistersConfig(**SINGLE, num_register_tokens=3))
    ),
    'dinov3': lambda: randomised(
        transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**SINGLE, num_register_tokens=3))
    ),
    'vit': lambda: randomised(transformers.ViTModel(transformers.ViTConfig(**SINGLE), add_pooling_layer=False)),
}


def features(encoder, images):
    """Spaces of normalised images."""
    with torch.no_grad():
        return encoder._embedder(images, ('global', 'crop'), True)


def image_features(model, images):
    with torch.no_grad():
        if not hasattr(model, 'get_image_features'):
            return model(pixel_values=images).last_hidden_state[:, 0]
        return model.get_image_features(pixel_values=images).pooler_output


@pytest.mark.parametrize('name', MODELS)
def test_transformers(tmp_path, name):
    model = MODELS[name]()
    model.save_pretrained(tmp_path)
    settings = frozen_settings(str(tmp_path))
    settings.options.pop('class_token_blocks', None)  # as in older galleries
    encoder = FrozenEncoder(settings, device='cpu', spaces=['global', 'crop'], keep_patches=True)
    images = torch.randn(2, 3, 32, 32)
    found = features(encoder, images)
    torch.testing.assert_close(found.embeddings['global'], image_features(model, images), rtol=1e-4, atol=1e-4)
    crops = encoder._model.encode(images)[1].crops
    torch.testing.assert_close(found.embeddings['crop'], image_features(model, crops), rtol=1e-4, atol=1e-4)
    assert found.patches.shape == (2, 4, 64) and found.maps.shape == (2, 4, 4)
    wide = frozen_encoder(str(tmp_path), image_size=(32, 48), device='cpu')
    assert features(wide, torch.randn(1, 3, 32, 48)).maps.shape == (1, 4, 6)


def test_siglip_of_any_aspect_ratio(tmp_path):
    """Its images are flat patches, padded to a number with a mask."""
    towers = dict(vision_config=dict(VISION, num_patches=16), text_config=TWO_TOWERS['text_config'])
    model = randomised(transformers.Siglip2Model(transformers.Siglip2Config(**towers)))
    model.save_pretrained(tmp_path)
    images = torch.randn(2, 3, 32, 32)
    flat = images.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)
    shapes = dict(pixel_attention_mask=torch.ones(2, 16), spatial_shapes=torch.tensor([[4, 4]] * 2))
    with torch.no_grad():
        expected = model.get_image_features(pixel_values=flat, **shapes).pooler_output
    found = features(frozen_encoder(str(tmp_path), device='cpu'), images).embeddings['global']
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name', ['clip', 'siglip'])
def test_texts_of_transformers(tmp_path, name):
    model = MODELS[name]()
    model.save_pretrained(tmp_path)
    tokenizer = write_tokenizer(tmp_path)
    padding = True if name == 'clip' else 'max_length'
    tokens = tokenizer(TEXTS, padding=padding, max_length=8, truncation=True, return_tensors='pt')
    tokens.pop('token_type_ids', None)
    if name == 'siglip':
        tokens.pop('attention_mask')
    with torch.no_grad():
        expected = model.get_text_features(**tokens).pooler_output
    encoder = frozen_encoder(str(tmp_path), device='cpu')
    np.testing.assert_allclose(encoder.encode_text(TEXTS), expected.numpy(), rtol=1e-4, atol=1e-4)


def write_open_clip(folder):
    """A tiny CLIP in a folder laid out like BioCLIP 2's."""
    text = dict(context_length=8, vocab_size=49408, width=16, heads=2, layers=2)
    vision = dict(image_size=32, layers=2, width=64, patch_size=8, head_width=32)
    model = randomised(open_clip.CLIP(24, vision, text))
    settings = dict(mean=[0.1, 0.2, 0.3], std=[0.5, 0.5, 0.5], interpolation='bilinear', resize_mode='squash')
    config = dict(model_cfg=dict(embed_dim=24, vision_cfg=vision, text_cfg=text), preprocess_cfg=settings)
    (folder / 'open_clip_config.json').write_text(json.dumps(config))
    torch.save(model.state_dict(), folder / 'open_clip_pytorch_model.bin')
    return model


def test_open_clip(tmp_path):
    model = write_open_clip(tmp_path)
    images = torch.randn(2, 3, 32, 32)
    settings = frozen_settings(str(tmp_path))
    assert settings.mean == (0.1, 0.2, 0.3) and (settings.resize, settings.interpolation) == ('squash', 'bilinear')
    with torch.no_grad():
        image, text = model.encode_image(images), model.encode_text(open_clip.tokenize(TEXTS, context_length=8))
    for address in (tmp_path, tmp_path / 'open_clip_pytorch_model.bin'):
        encoder = frozen_encoder(str(address), device='cpu')
        torch.testing.assert_close(features(encoder, images).embeddings['global'], image, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(encoder.encode_text(TEXTS), text.numpy(), rtol=1e-4, atol=1e-4)


def test_siglip_in_open_clips_layout(tmp_path):
    """open_clip's SigLIP is timm's, as ``visual.trunk``."""
    tiny = dict(embed_dim=64, depth=2, num_heads=1, patch_size=8, img_size=32, num_classes=0)
    model = randomised(timm.create_model('vit_base_patch16_siglip_224', **tiny))
    path = tmp_path / 'siglip.safetensors'
    save_file({f'visual.trunk.{name}': tensor for name, tensor in model.state_dict().items()}, path)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        found = features(frozen_encoder(str(path), device='cpu'), images).embeddings['global']
        torch.testing.assert_close(found, model(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    'processor, shape',
    [
        (dict(size={'shortest_edge': 40}, crop_size={'height': 32, 'width': 32}, resample=3), (60, 90)),
        (dict(size={'height': 32, 'width': 32}, do_center_crop=False, resample=2), (60, 90)),
    ],
)
def test_photos_are_prepared_as_by_the_library(tmp_path, processor, shape):
    MODELS['clip']().save_pretrained(tmp_path)
    prepare = transformers.CLIPImageProcessor(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6], **processor)
    prepare.save_pretrained(tmp_path)
    encoder = frozen_encoder(str(tmp_path), device='cpu')
    rng = np.random.default_rng(0)
    photo = np.asarray(Image.fromarray(rng.integers(0, 255, (6, 9, 3), np.uint8)).resize(shape[::-1], 3))
    inputs = encoder.pipeline(np.ascontiguousarray(photo[..., ::-1]))[None]
    prepared = encoder._model.data_preprocessor(dict(inputs=inputs), training=False)['inputs']
    expected = prepare(Image.fromarray(photo), return_tensors='pt')['pixel_values']
    assert (prepared - expected).abs().max() < 0.03  # of 255 levels, two


def test_no_text_tower(tmp_path):
    MODELS['dinov2']().save_pretrained(tmp_path)
    with pytest.raises(UserError, match='has no text tower'):
        frozen_encoder(str(tmp_path), device='cpu').encode_text(TEXTS)


def test_search_by_text(photos, tmp_path, capsys):
    write_open_clip(tmp_path)
    gallery, page = tmp_path / 'gallery', tmp_path / 'found.html'
    call_tool('retrieval/build', photos / 'b', '--encoder', tmp_path, '--out', gallery, *QUIET, '--spaces', *SPACES)
    capsys.readouterr()
    call_tool('retrieval/search', gallery, '--text', *TEXTS, '--device', 'cpu', '-k', 2, '--json', '--out', page)
    answers = json.loads(capsys.readouterr().out)
    with ImageSearch.open(gallery, device='cpu') as search:
        rows, text = (
            x / np.linalg.norm(x, axis=1, keepdims=True)
            for x in (search.gallery.vectors(search.gallery.ids(), 'global'), search.encoder.encode_text(TEXTS))
        )
        order = np.argsort(-text @ rows.T, axis=1)[:, :2]
        assert [[hit['id'] for hit in answer['hits']] for answer in answers] == order.tolist()
        assert answers[0]['query']['metadata'] == {'text': 'a red cap'} and 'a red cap' in page.read_text()
        assert search.by_text('blue', k=1, space={'global': 0.5, 'crop': 0.5})[0].hits
        with pytest.raises(UserError, match='not with concat: choose global or crop'):
            search.by_text('blue', space='concat')


def test_texts_are_refused_before_the_model_is_loaded(photos, tmp_path, capsys):
    MODELS['dinov2']().save_pretrained(tmp_path)
    call_tool('retrieval/build', photos / 'b', '--encoder', tmp_path, '--out', tmp_path / 'gallery', *QUIET)
    (tmp_path / 'model.safetensors').write_bytes(b'')
    with pytest.raises(SystemExit):
        call_tool('retrieval/search', tmp_path / 'gallery', '--text', 'blue')
    assert 'has no text tower, so that photos are all it can search with' in capsys.readouterr().err
