"""Crops from the delivered photo on every path: training, testing, predictions, search, and exported files."""

import numpy as np
import pytest
import torch
from exported_files import write_model
from PIL import Image
from test_pretrained_encoder import QUIET, write_vit
from tiny_run import call_tool, write_config, write_images

from glsim_mm.apis import GLSimInferencer
from glsim_mm.errors import UserError
from glsim_mm.exported import ExportedInferencer, ExportedModel
from glsim_mm.images.places import map_box
from glsim_mm.ops import centre_box, crop_and_resize, shrink
from glsim_mm.search import Encoder, ExportedEncoder, FrozenSettings, ImageSearch, frozen_encoder
from retrieval.gallery import open_gallery

TWICE = """
model['backbone']['img_size'] = (32, 40)
model['second_look'] = dict(scale=2, first=0.5)
train_pipeline[1]['scale'] = (40, 32)
"""


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Config of a model that takes 64 x 80 pixels for a network of 32 x 40, checkpoint, photos, exported file."""
    folder = tmp_path_factory.mktemp('twice')
    config, weights, images = write_model(folder, TWICE)
    call_tool('export', config, weights, '--out', folder / 'model.onnx', '--centre')
    return config, weights, images, folder / 'model.onnx'


@torch.no_grad()
def test_views_of_a_search(made):
    config, weights, images, _ = made
    encoder = Encoder(config, weights, device='cpu', spaces=['global', 'crop', 'centre'])
    encoded = encoder.encode(str(images))
    photo = np.asarray(Image.open(encoded.records[0].path).convert('RGB'))[..., ::-1].copy()
    model, delivered = encoder._model, encoder.pipeline(photo)
    assert delivered.shape == (3, 64, 80)
    inputs = model.data_preprocessor(dict(inputs=delivered[None]))['inputs']
    tokens = model.backbone(shrink(inputs, (16, 20)))[-1]
    regions = model.encode(inputs)[1]
    x0, y0, x1, y1 = centre_box((64, 80), 0.65)
    centre = crop_and_resize(inputs, torch.tensor([[x0, y0, x1, y1]]), (32, 40), samples=2)
    wanted = dict({'global': tokens[:, 0]}, crop=model.encode_crops(regions.crops), centre=model.encode_crops(centre))
    for space, embedding in wanted.items():
        torch.testing.assert_close(torch.from_numpy(encoded.embeddings[space][:1]), embedding, atol=1e-4, rtol=1e-4)
    in_photo = map_box(encoder.pipeline.to_photo(photo.shape[:2]), regions.boxes[0].tolist(), photo.shape[:2])
    assert encoded.records[0].box == pytest.approx(in_photo)
    assert encoded.records[0].similarity_map.shape == (2, 3), 'of 16 x 20 pixels, the last column padded'


def test_exported_file_is_one_graph_from_the_delivered_image(made):
    config, weights, images, path = made
    model = ExportedModel(path, device='cpu')
    assert model.info.image_size == (64, 80) and model.info.steps[-1]['size'] == [64, 80]
    wanted = GLSimInferencer(config, str(weights), device='cpu')(str(images), batch_size=3, progress=False)
    found = ExportedInferencer(path, device='cpu')(str(images), batch_size=3)
    assert len({tuple(one['selected_box']) for one in wanted}) > 1
    for one, other in zip(found, wanted, strict=True):
        assert one['selected_box'] == other['selected_box'] and one['pred_label'] == other['pred_label']
        assert one['selected_box_image'] == pytest.approx(other['selected_box_image'])
        assert one['pred_score'] == pytest.approx(other['pred_score'], abs=1e-3)
        height, width = np.asarray(Image.open(one['path'])).shape[:2]
        x0, y0, x1, y1 = one['selected_box_image']
        assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
    spaces = ['global', 'crop', 'centre']
    exact = Encoder(config, weights, device='cpu', spaces=spaces).encode(str(images)).embeddings
    for space, embeddings in ExportedEncoder(path, spaces=spaces, device='cpu').encode(str(images)).embeddings.items():
        np.testing.assert_allclose(embeddings, exact[space], atol=1e-3)
    with pytest.raises(
        UserError, match=r'takes images of shape \(B, 3, 64, 80\), got \(1, 3, 32, 40\): size and scale'
    ):
        model(np.zeros((1, 3, 32, 40), np.uint8))


def test_train_and_test_with_one_field(tmp_path, capsys):
    config = write_config(tmp_path / 'tiny.py', write_images(tmp_path / 'data', side=20))  # smaller than the network's
    field = ('--cfg-options', 'model.second_look=dict(scale=2, first=0.5)', 'train_cfg.max_epochs=1')
    call_tool('train', config, '--work-dir', tmp_path / 'run', *field)
    written = next((tmp_path / 'run').glob('*.py'))
    assert written.read_text().count('64,') >= 6, 'the pipelines of the written config are scaled'
    call_tool('test', written, tmp_path / 'run' / 'epoch_1.pth', '--work-dir', tmp_path / 'again')
    assert 'accuracy/top1' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        call_tool('train', config, '--work-dir', tmp_path / 'b', '--cfg-options', 'model.second_look=dict(scale=0.5)')
    assert 'from 1 to 16, got 0.5' in capsys.readouterr().err


def test_gallery_of_a_pretrained_encoder(photos, tmp_path, capsys):
    weights = write_vit(tmp_path / 'vit.safetensors')
    wide = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 900, 3), dtype=np.uint8))
    wide.save(photos / 'a' / 'panorama.png')
    out = tmp_path / 'gallery'
    call_tool('retrieval/build', photos, '--encoder', weights, '--crop-scale', 2, '--out', out, *QUIET)
    assert 'regions of 4 patches from 2 times the pixels a side' in capsys.readouterr().out
    with ImageSearch.open(out, device='cpu') as search, open_gallery(out) as rows:
        assert FrozenSettings.from_json(rows.manifest.origin['encoder']).scale == 2
        hit = search(photos / 'a' / 'panorama.png', k=1)[0].hits[0]
        assert hit.score == pytest.approx(1, abs=1e-5) and hit.record.path.endswith('panorama.png')
        x0, y0, x1, y1 = hit.record.box
        assert 0 <= x0 < x1 <= 900 and 0 <= y0 < y1 <= 40
    once, twice = (frozen_encoder(str(weights), scale=scale, device='cpu').encode(photos) for scale in (1, 2))
    apart = {
        space: 1 - (normalised(once, space) * normalised(twice, space)).sum(axis=1).mean() for space in once.embeddings
    }
    assert 5 * apart['global'] < min(apart['crop'], apart['centre']), apart
    with pytest.raises(SystemExit):
        call_tool('retrieval/build', photos, 'tiny.py', 'weights.pth', '--crop-scale', 2, '--out', out)
    assert '--crop-scale and --region go with --encoder' in capsys.readouterr().err


def normalised(encoded, space):
    vectors = encoded.embeddings[space]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
