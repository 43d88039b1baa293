"""Embeddings are the model's own, and say where it looked."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from counting_model import write_photo, write_weights
from mmengine.config import Config
from PIL import Image
from tiny_run import CLASSES

from glsim_mm.apis import GLSimInferencer
from glsim_mm.compat import devices
from glsim_mm.search import Encoder
from retrieval.errors import UserError

ALL = ('aggregated', 'global', 'crop', 'concat', 'centre')


@pytest.fixture
def paths(tiny_model) -> list[str]:
    return sorted(str(path) for path in tiny_model[2].rglob('*.png'))


def read_inputs(paths: list[str]) -> torch.Tensor:
    """Network inputs of 32 px images, by hand."""
    images = np.stack([np.asarray(Image.open(path)) for path in paths]).astype(np.float32)
    return torch.from_numpy((images - 127) / 64).permute(0, 3, 1, 2)


def test_embeddings_are_those_of_the_model(tiny_model, paths):
    encoder = Encoder(*tiny_model[:2], device='cpu', spaces=ALL, keep_patches=True)
    encoded = encoder.encode(paths)
    model = encoder._model
    inputs = read_inputs(paths)
    with torch.no_grad():
        (class_tokens,) = model.extract_feat(inputs)
        aggregated = model.extract_feat(inputs, 'pre_logits')
        regions = model.extract_feat(inputs, 'selector')
        tokens = model.extract_feat(inputs, 'backbone')[-1]
        middle = F.interpolate(inputs[:, :, 5:26, 5:26], (32, 32), mode='bilinear', align_corners=True)  # 21 of 32
        centre = model.extract_feat(middle, 'backbone')[-1][:, 0]
    halves = F.normalize(class_tokens, dim=-1)
    both = torch.cat([halves[:, 0], halves[:, 1]], dim=1)
    expected = dict(zip(ALL, (aggregated, class_tokens[:, 0], class_tokens[:, 1], both, centre)))
    for space in ALL:
        assert encoded.embeddings[space].dtype == np.float32
        np.testing.assert_allclose(encoded.embeddings[space], expected[space], atol=1e-4, err_msg=space)
    patches = torch.stack([tokens[row, 1 + regions.indices[row]] for row in range(len(paths))])
    assert encoded.patches.dtype == np.float16
    np.testing.assert_allclose(encoded.patches, patches, atol=5e-3)
    assert encoder.dimensions == {'aggregated': 32, 'global': 32, 'crop': 32, 'concat': 64, 'centre': 32}
    assert encoder.num_patches == 3


def test_the_centre_alone_needs_no_first_pass(tiny_model, paths, counter):
    encoder = Encoder(*tiny_model[:2], device='cpu', spaces='centre')
    encoded = encoder.encode(paths)
    assert counter.count == 0 and encoded.records[0].box is None
    both = Encoder(*tiny_model[:2], device='cpu', spaces=['global', 'centre']).encode(paths)
    np.testing.assert_allclose(encoded.embeddings['centre'], both.embeddings['centre'], atol=1e-5)
    assert both.records[0].box is not None


def test_threads_that_share_an_encoder_get_their_own_patches(tiny_model, paths, monkeypatch):
    encoder = Encoder(*tiny_model[:2], device='cpu', spaces='global', keep_patches=True)
    expected = [encoder.encode(path).patches for path in paths[:2]]
    backbone, meeting = encoder._model.backbone, Barrier(2, timeout=300)
    encode_images = backbone.encode_images

    def meet_first(images: torch.Tensor) -> torch.Tensor:  # both threads are under way before either goes on
        meeting.wait()
        return encode_images(images)

    monkeypatch.setattr(backbone, 'encode_images', meet_first)
    with ThreadPoolExecutor(2) as pool:
        found = [encoded.patches for encoded in pool.map(encoder.encode, paths[:2])]
    assert np.abs(expected[0] - expected[1]).max() > 0.1
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one, other)


def test_boxes_and_maps_are_those_of_the_inferencer(tiny_model, tmp_path):
    rng = np.random.default_rng(3)
    paths = [str(write_photo(tmp_path / f'{width}.png', rng, (40, width))) for width in (48, 90)]
    encoded = Encoder(*tiny_model[:2], device='cpu', keep_patches=True).encode(paths)
    results = GLSimInferencer(*tiny_model[:2], device='cpu')(paths, progress=False)
    for record, result in zip(encoded.records, results):
        np.testing.assert_allclose(record.box, result['selected_box_image'], atol=1e-3)
        scores = result['similarity_map']
        assert record.similarity_map.dtype == np.uint8
        expected = (scores - scores.min()) / (scores.max() - scores.min()) * 255
        np.testing.assert_allclose(record.similarity_map, expected, atol=0.6)
        width, height = record.image_size
        assert (width, height) == (int(record.path.split('/')[-1][:-4]), 40)
        np.testing.assert_allclose(record.map_area, (0, 0, width, height), atol=1e-3)
        # The patches that are kept are the best of the map, best first.
        x, y = (np.asarray(record.patch_boxes)[:, :2] / (width / 4, height / 4)).round().astype(int).T
        order = np.argsort(-scores.ravel())[: len(x)]
        np.testing.assert_array_equal(4 * y + x, order)
        np.testing.assert_allclose(np.diff(np.asarray(record.patch_boxes)[:, ::2]), width / 4, atol=1e-2)


def test_plain_models_have_one_space(tiny_model, tmp_path, paths):
    cfg = Config.fromfile(tiny_model[0])
    cfg.model = dict(
        type='ImageClassifier',
        backbone=dict(cfg.model.backbone, type='VisionTransformer'),
        head=dict(type='VisionTransformerClsHead', num_classes=2, in_channels=32),
    )
    cfg.dump(tmp_path / 'plain.py')
    checkpoint = write_weights(tmp_path / 'plain.py', tmp_path / 'plain.pth')
    encoder = Encoder(tmp_path / 'plain.py', checkpoint, device='cpu')
    encoded = encoder.encode(paths)
    assert Encoder(tmp_path / 'plain.py', checkpoint, spaces=['centre']).dimensions == {'centre': 32}
    assert encoder.spaces == ('global',) and encoder.num_patches == 0
    with torch.no_grad():
        expected = encoder._model.extract_feat(read_inputs(paths))[-1]
    np.testing.assert_allclose(encoded.embeddings['global'], expected, atol=1e-4)
    assert encoded.records[0].box is None and encoded.patches is None
    with pytest.raises(UserError, match='some of global, centre, which ImageClassifier'):
        Encoder(tmp_path / 'plain.py', checkpoint, spaces=['aggregated'])
    with pytest.raises(UserError, match='no patches to keep'):
        Encoder(tmp_path / 'plain.py', checkpoint, keep_patches=True)


def test_convolutional_networks_are_pooled(tiny_model, tmp_path, paths):
    cfg = Config.fromfile(tiny_model[0])
    cfg.model = dict(
        type='ImageClassifier',
        backbone=dict(type='ResNet', depth=18, stem_channels=8, base_channels=8),
        head=dict(type='LinearClsHead', num_classes=2, in_channels=64),
    )
    cfg.dump(tmp_path / 'resnet.py')
    encoder = Encoder(tmp_path / 'resnet.py', write_weights(tmp_path / 'resnet.py', tmp_path / 'resnet.pth'))
    assert encoder.encode(paths[:2]).embeddings['global'].shape == (2, 64)


def test_the_crop_is_encoded_only_if_wanted(tiny_model, paths, counter):
    encoder = Encoder(*tiny_model[:2], device='cpu', spaces='global')
    calls = []
    encoder._model.backbone.register_forward_hook(lambda *_: calls.append(1))
    encoded = encoder.encode(paths)
    assert list(encoded.embeddings) == ['global'] and encoded.records[0].box is not None
    assert len(calls) == 1


@pytest.mark.parametrize('batch_size,num_workers', [(1, 0), (3, 0), (3, 2), (100, 1)])
def test_batches_and_workers_change_nothing(encoder, paths, batch_size, num_workers):
    expected = encoder.encode(paths)
    found = encoder.encode(paths, batch_size=batch_size, num_workers=num_workers)
    for space, array in expected.embeddings.items():
        np.testing.assert_allclose(found.embeddings[space], array, atol=1e-4)
    assert [record.path for record in found.records] == paths == [record.path for record in expected.records]
    assert [record.content_hash for record in found.records] == [record.content_hash for record in expected.records]


@pytest.mark.timeout(120)
def test_workers_after_opencv_has_worked_in_this_process(tiny_model, tmp_path):
    cfg = Config.fromfile(tiny_model[0])
    cfg.test_dataloader.dataset.pipeline[1].scale = (400, 400)  # so large that OpenCV divides the work
    encoder = Encoder(cfg, tiny_model[1], device='cpu', spaces=['global'])
    path = write_photo(tmp_path / 'large.png', np.random.default_rng(0), (600, 500))
    expected = encoder.encode(path)
    encoder.pipeline._matrices.clear()
    found = encoder.encode([path] * 3, num_workers=1, batch_size=1)
    rows = np.repeat(expected.embeddings['global'], 3, axis=0)
    np.testing.assert_allclose(found.embeddings['global'], rows, atol=1e-4)


def test_photos_of_different_shapes_keep_their_order(tiny_model, tmp_path):
    cfg = Config.fromfile(tiny_model[0])
    cfg.test_dataloader.dataset.pipeline[1] = dict(type='ResizeEdge', scale=32)
    rng = np.random.default_rng(0)
    shapes = [(40, 64), (64, 40), (40, 64), (40, 40), (64, 40)]
    paths = [str(write_photo(tmp_path / f'{number}.png', rng, shape)) for number, shape in enumerate(shapes)]
    encoder = Encoder(cfg, tiny_model[1], device='cpu')
    together = encoder.encode(paths)
    assert [record.path for record in together.records] == paths
    for row, path in enumerate(paths):
        alone = encoder.encode(path)
        np.testing.assert_allclose(together.embeddings['aggregated'][row], alone.embeddings['aggregated'][0], atol=1e-4)


def test_arrays_and_pillow_images(encoder, paths):
    photo = Image.open(paths[0])
    array = np.asarray(photo)[..., ::-1]
    encoded = encoder.encode([paths[0], photo, array])
    rows = encoded.embeddings['global']
    np.testing.assert_allclose(rows[1:], rows[[0, 0]], atol=1e-5)
    assert encoded.records[0].content_hash and encoded.records[1].content_hash is None
    with pytest.raises(UserError, match='image array must be'):
        encoder.encode(np.zeros((4, 4, 3), np.float32))
    with pytest.raises(UserError, match='not int'):
        encoder.encode([3])
    with pytest.raises(UserError, match='at least one'):
        encoder.encode([])


def test_orientation_of_the_camera(encoder, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'upright.png')
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show it
    Image.fromarray(np.rot90(pixels)).save(tmp_path / 'turned.png', exif=exif)
    encoded = encoder.encode([tmp_path / 'upright.png', tmp_path / 'turned.png', Image.open(tmp_path / 'turned.png')])
    np.testing.assert_allclose(encoded.embeddings['global'][1:], encoded.embeddings['global'][[0, 0]], atol=1e-5)
    assert {record.image_size for record in encoded.records} == {(64, 40)}


def test_part_of_a_photo(encoder, tmp_path):
    path = write_photo(tmp_path / 'photo.png', np.random.default_rng(0), (60, 80))
    part = np.asarray(Image.open(path))[10:50, 20:70, ::-1]
    encoded = encoder.encode([path, path], box=[(20, 10, 70, 50), None])
    expected = encoder.encode(part)
    np.testing.assert_allclose(encoded.embeddings['crop'][0], expected.embeddings['crop'][0], atol=1e-5)
    np.testing.assert_allclose(
        np.subtract(encoded.records[0].box, (20, 10, 20, 10)), expected.records[0].box, atol=1e-3
    )
    np.testing.assert_allclose(encoded.records[0].map_area, (20, 10, 70, 50), atol=1e-3)
    np.testing.assert_allclose(encoded.records[1].map_area, (0, 0, 80, 60), atol=1e-3)
    assert np.abs(encoded.embeddings['crop'][0] - encoded.embeddings['crop'][1]).max() > 1e-2


@pytest.mark.parametrize(
    'box,message',
    [
        ((90, 10, 120, 20), 'holds nothing of the photo, which is 80 x 60'),
        ((30, 10, 20, 20), 'holds nothing'),
        ((1, 2, 3), 'four numbers'),
        ((1, 2, 3, float('nan')), 'four numbers'),
        ([(1, 2, 3, 'x')], 'four numbers'),
        ('1,2,3,4', 'four numbers'),
        (5, 'four numbers'),
        ({'a': 1}, 'four numbers'),
        ([(1, 2, 3, 4), (1, 2, 3, 4)], '2 boxes for 1 images'),
    ],
)
def test_boxes_that_are_none(encoder, tmp_path, box, message):
    path = write_photo(tmp_path / 'photo.png', np.random.default_rng(0), (60, 80))
    with pytest.raises(UserError, match=message):
        encoder.encode(path, box=box)


def test_unreadable_queries_keep_their_place(encoder, paths, tmp_path):
    (tmp_path / 'broken.jpg').write_bytes(b'no image')
    encoded = encoder.encode([paths[0], tmp_path / 'broken.jpg', paths[1]], batch_size=1)
    assert encoded.positions.tolist() == [0, 2] and len(encoded) == 2
    ((position, path, reason),) = encoded.errors
    assert (position, path) == (1, str(tmp_path / 'broken.jpg')) and 'not an image' in reason
    only = encoder.encode(tmp_path / 'broken.jpg')
    assert only.embeddings['aggregated'].shape == (0, 32) and len(only.errors) == 1
    with pytest.raises(UserError, match='does not exist'):
        encoder.encode(tmp_path / 'nowhere.jpg')


def test_embeddings_that_no_metric_can_rank(tiny_model, paths, tmp_path):
    content = torch.load(tiny_model[1], weights_only=True)
    content['state_dict']['head.norm.weight'].fill_(3e38)  # finite, but not what it scales
    torch.save(content, tmp_path / 'huge.pth')
    encoded = Encoder(tiny_model[0], tmp_path / 'huge.pth', device='cpu').encode(paths[:2])
    assert len(encoded) == 0 and 'not finite' in encoded.errors[0].reason


@pytest.mark.parametrize('amp', [True, 'bf16'])
def test_mixed_precision_is_close(tiny_model, paths, amp):
    exact, rough = (Encoder(*tiny_model[:2], device='cpu', amp=value).encode(paths) for value in (False, amp))
    a, b = exact.embeddings['global'], rough.embeddings['global']
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert b.dtype == np.float32 and cosines.min() > 0.99 and np.abs(a - b).max() > 0


@pytest.mark.parametrize('is_fast', [False, True])
def test_mixed_precision_that_is_slow_here_is_told(tiny_model, monkeypatch, mmengine_log, is_fast):
    monkeypatch.setattr(devices, 'has_fast_bfloat16', lambda: is_fast)
    Encoder(*tiny_model[:2], device='cpu', amp=True)
    assert ('leave --amp' in mmengine_log.text) == (not is_fast)


def test_wrong_arguments(tiny_model, encoder, paths):
    for options, message in [
        (dict(spaces=['head']), 'some of global, aggregated, crop, concat'),
        (dict(spaces=[]), 'got none'),
        (dict(spaces=['crop', 'crop']), 'each once'),
        (dict(amp='int8'), 'one of fp16, bf16'),
    ]:
        with pytest.raises(UserError, match=message):
            Encoder(*tiny_model[:2], device='cpu', **options)
    with pytest.raises(UserError, match='batch_size must be 1 or more'):
        encoder.encode(paths, batch_size=0)
    with pytest.raises(UserError, match='does not exist'):
        Encoder('nowhere.py', tiny_model[1])
    with pytest.raises(UserError, match='does not exist'):
        Encoder(tiny_model[0], 'nowhere.pth')


def test_selectors_that_need_annotations(tiny_model, paths):
    cfg = Config.fromfile(tiny_model[0])
    cfg.model.neck = dict(type='OracleSelector')
    with pytest.raises(UserError, match='OracleSelector needs annotated boxes'):
        Encoder(cfg, tiny_model[1], device='cpu').encode(paths)


@pytest.mark.parametrize('selector', ['MAWSSelector', 'RolloutSelector', 'CenterSelector'])
def test_other_selectors(tiny_model, paths, selector):
    cfg = Config.fromfile(tiny_model[0])
    cfg.model.neck = dict(type=selector, top_o=3)
    encoded = Encoder(cfg, tiny_model[1], device='cpu', keep_patches=True).encode(paths[:2])
    assert encoded.patches.shape == (2, 3, 32) and np.isfinite(encoded.embeddings['crop']).all()


def test_several_regions(tiny_model, paths):
    cfg = Config.fromfile(tiny_model[0])
    cfg.model.neck.top_o = (2, 6)
    encoder = Encoder(cfg, tiny_model[1], device='cpu', spaces=ALL, keep_patches=True)
    encoded = encoder.encode(paths[:2])
    assert encoder.dimensions['concat'] == 96 and encoded.patches.shape == (2, 6, 32)
    assert len(encoded.records[0].box) == 4
    with torch.no_grad():
        (class_tokens,) = encoder._model.extract_feat(read_inputs(paths[:2]))
    np.testing.assert_allclose(encoded.embeddings['crop'], class_tokens[:, 1:].mean(1), atol=1e-4)


def test_folders_and_patterns(encoder, tiny_model):
    folder = tiny_model[2]
    assert len(encoder.encode(folder)) == 8
    assert len(encoder.encode([f'{folder}/**/*0.png', folder / CLASSES[0]])) == 2 + 4
