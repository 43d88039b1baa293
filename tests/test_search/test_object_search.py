"""Given boxes, or a detector's: every object is named and searched for."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from PIL import Image
from tiny_run import call_tool, write_config, write_images

from glsim_mm.apis import GLSimInferencer
from glsim_mm.search import DetectedObjects, Encoder, ImageSearch, ObjectSearch
from glsim_mm.search.object_search import format_objects, objects_to_json, write_pictures
from retrieval.errors import UserError

BOXES = np.array([[0, 0, 40, 30], [30, 20, 90, 80], [50, 0, 96, 40]], np.float32)


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """Config, weights, a gallery of 8 images, and a photo of 96 x 80 pixels."""
    folder = tmp_path_factory.mktemp('objects')
    images = write_images(folder / 'images', side=48)
    config = write_config(folder / 'tiny_objects.py', images)
    torch.manual_seed(0)
    built = MODELS.build(dict(Config.fromfile(config).model, type='mmpretrain.GLSimClassifier'))
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    meta = dict(dataset_meta=dict(classes=('plain', 'striped')))
    torch.save({'state_dict': built.state_dict(), 'meta': meta}, folder / 'weights.pth')
    options = dict(device='cpu', num_workers=0)
    ImageSearch.build(images / 'val', config, folder / 'weights.pth', folder / 'gallery', **options).close()
    pixels = np.random.default_rng(0).integers(0, 256, (80, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / 'photo.png')
    return config, folder / 'weights.pth', folder / 'gallery', folder / 'photo.png'


@pytest.fixture(scope='module')
def search(model):
    config, checkpoint, gallery, _ = model
    opened = ObjectSearch.open(config, checkpoint, gallery, device='cpu', margin=0.0, square=False, batch_size=2)
    yield opened
    opened.close()


def test_each_box_is_a_photo_of_its_own(search, model):
    config, checkpoint, _, photo = model
    (result,) = search(str(photo), [BOXES], k=3)
    assert result.shape == (80, 96) and len(result.objects) == 3 and not result.error
    crops = [np.asarray(Image.open(photo).crop(tuple(box)))[:, :, ::-1] for box in BOXES.astype(int)]
    crops = [np.ascontiguousarray(crop) for crop in crops]
    encoded = search.encoder.encode(crops)
    predicted = GLSimInferencer(str(config), str(checkpoint), device='cpu')(crops)
    for row, (one, box) in enumerate(zip(result.objects, BOXES)):
        assert one.box == tuple(box) and one.area == tuple(box) and one.detector_name == 'object'
        np.testing.assert_allclose(one.embedding, encoded.embeddings['global'][row], atol=1e-4)
        assert one.label == predicted[row]['pred_label']
        assert one.classes[0][0] == predicted[row]['pred_class']
        assert one.classes[0][1] == pytest.approx(predicted[row]['pred_score'], abs=1e-4)
        assert sum(score for _, score in one.classes) == pytest.approx(1, abs=1e-5)
        x0, y0, x1, y1 = one.region
        assert box[0] - 1e-3 <= x0 < x1 <= box[2] + 1e-3 and box[1] - 1e-3 <= y0 < y1 <= box[3] + 1e-3
    hits = search.search.gallery.search(encoded.embeddings['global'], 3)
    assert [[hit.record.id for hit in one.hits] for one in result.objects] == hits.ids.tolist()


def test_boxes_of_all_photos_share_batches(search, model, monkeypatch):
    sizes, forward = [], search.encoder.forward
    monkeypatch.setattr(search.encoder, 'forward', lambda inputs: sizes.append(len(inputs)) or forward(inputs))
    results = search([str(model[3])] * 4, [BOXES, BOXES[:0], BOXES[:1], BOXES[1:]])
    assert sizes == [2, 2, 2] and [len(result.objects) for result in results] == [3, 0, 1, 2]
    assert results[2].objects[0].hits[0].score == pytest.approx(results[0].objects[0].hits[0].score, abs=1e-5)


def test_a_detector_is_asked_once_for_all_photos(model, tmp_path):
    config, checkpoint, gallery, photo = model
    asked = []

    def detector(photos):
        asked.append([one.shape for one in photos])
        return [DetectedObjects([[1, 1, 30, 30]], [0.7], [1], ('cat', 'bird')) for _ in photos]

    (tmp_path / 'broken.png').write_bytes(b'no image')
    search = ObjectSearch(Encoder(config, checkpoint, 'cpu', classify=True), detector)
    grey = Image.fromarray(np.zeros((50, 60), np.uint8))
    good, broken, other = search([str(photo), str(tmp_path / 'broken.png'), np.asarray(grey)])
    assert asked == [[(80, 96, 3), (50, 60, 3)]]
    assert good.objects[0].detector_name == 'bird' and good.objects[0].detector_score == pytest.approx(0.7)
    assert broken.error and not broken.objects and other.path == '' and len(other.objects) == 1
    assert not good.objects[0].hits and good.objects[0].embedding is not None
    # A box of 29 px with a tenth around it.
    np.testing.assert_allclose(good.objects[0].area, (0, 0, 34.8, 34.8), atol=1e-3)


def test_photos_are_upright(model, tmp_path):
    photo = Image.open(model[3])
    turned = photo.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned.save(tmp_path / 'turned.png', exif=exif)
    search = ObjectSearch(Encoder(*model[:2], 'cpu'))
    upright, same = search([str(model[3]), str(tmp_path / 'turned.png')], [BOXES, BOXES])
    assert upright.shape == same.shape == (80, 96)
    for one, other in zip(upright.objects, same.objects):
        np.testing.assert_allclose(one.embedding, other.embedding, atol=1e-4)


def test_filters_and_spaces(search, model):
    (result,) = search(str(model[3]), [BOXES[:1]], k=8, where={'label': 'striped'}, space='global')
    assert {hit.record.label for hit in result.objects[0].hits} == {'striped'} and len(result.objects[0].hits) == 4
    with pytest.raises(UserError, match="no space 'depth'; there are: global"):
        search(str(model[3]), [BOXES], space='depth')


def test_groups_and_copies(search, model):
    gallery = search.search.gallery
    (known,) = gallery.records(gallery.ids({'path': 'striped/striped1.png'}))
    photo = str(model[0].parent / 'images' / 'val' / known.path)
    box = [np.array([[0, 0, 48, 48]], np.float32)]
    found, others, best = (
        [hit.record for hit in search(photo, box, k=8, **options)[0].objects[0].hits]
        for options in ({}, dict(exclude_same=True), dict(group_by='label'))
    )
    assert known.id in [one.id for one in found]
    assert [one.id for one in others] == [one.id for one in found if one.id != known.id]
    assert sorted(one.label for one in best) == ['plain', 'striped'] and best[0].id == found[0].id


def test_mistakes(search, model, tmp_path):
    config, checkpoint, gallery, photo = model
    with pytest.raises(UserError, match='give boxes, or a detector'):
        search(str(photo))
    with pytest.raises(UserError, match='boxes of 2 photos for 1 photos'):
        search(str(photo), [BOXES, BOXES])
    with pytest.raises(UserError, match='at least 1'):
        search(str(photo), [BOXES], k=0)
    with pytest.raises(UserError, match='needs both its config and its checkpoint'):
        ObjectSearch.open(config, checkpoint, detector_config='a.py', device='cpu')
    with pytest.raises(UserError, match='score_threshold: options of a detector'):
        ObjectSearch.open(config, checkpoint, device='cpu', score_threshold=0.5)
    with pytest.raises(UserError, match='margin must be'):
        ObjectSearch(search.encoder, margin=-1)
    other = MODELS.build(dict(Config.fromfile(config).model, type='mmpretrain.GLSimClassifier'))
    torch.save({'state_dict': other.state_dict()}, tmp_path / 'other.pth')
    with pytest.raises(UserError, match='weights'):
        ObjectSearch.open(config, tmp_path / 'other.pth', gallery, device='cpu')


def test_output(search, model, tmp_path):
    results = search([str(model[3]), str(model[3])], [BOXES, BOXES[:0]], k=2)
    content = json.loads(json.dumps(objects_to_json(results)))
    assert content[0]['objects'][1]['box'] == [30, 20, 90, 80] and len(content[0]['objects'][1]['hits']) == 2
    assert content[0]['objects'][0]['classes'][0]['name'] in ('plain', 'striped') and content[1]['objects'] == []
    text = format_objects(results)
    assert '  2. object 1.00 at (30, 20, 90, 80)' in text and text.endswith('no objects')
    written = write_pictures(results, tmp_path / 'shown')
    assert [path.name for path in written] == ['photo.jpg', 'photo_2.jpg']
    drawn, plain = (np.asarray(Image.open(path)).astype(int) for path in written)
    assert drawn.shape == (80, 96, 3) and np.abs(drawn - plain).mean() > 5
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='choose another folder'):
        write_pictures(results, tmp_path / 'file')


def test_command_line(model, tmp_path, capsys):
    config, checkpoint, gallery, photo = model
    common = ('detect_and_search', photo, '--config', config, '--checkpoint', checkpoint, '--device', 'cpu')
    call_tool(*common, '--gallery', gallery, '--box', 0, 0, 40, 30, '--box', 30, 20, 90, 80, '-k', 2, '--json',
              '--show-dir', tmp_path / 'shown')  # fmt: skip
    (content,) = json.loads(capsys.readouterr().out)
    assert len(content['objects']) == 2 and len(content['objects'][0]['hits']) == 2
    assert (tmp_path / 'shown' / 'photo.jpg').is_file()
    call_tool(*common, '--box', 0, 0, 40, 30, '--no-classes')
    assert 'class' not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        call_tool(*common)
    assert 'give a detector' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        call_tool(*common, '--detector-config', tmp_path / 'none.py', '--detector-checkpoint', tmp_path / 'none.pth')
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
