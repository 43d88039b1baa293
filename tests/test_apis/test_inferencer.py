"""Predictions for images outside any data set."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS, MODELS
from mmpretrain.structures import DataSample
from PIL import Image
from tiny_run import CLASSES, write_config, write_images

from glsim_mm.apis import GLSimInferencer, format_prediction, load_config, load_model, results_to_json
from glsim_mm.errors import GLSimError
from glsim_mm.images.decoding import decode_image


@pytest.fixture(scope='module')
def run(tmp_path_factory) -> tuple[Path, Path, Path]:
    """Config, checkpoint of a model with random weights, and a folder of images."""
    folder = tmp_path_factory.mktemp('inferencer')
    images = write_images(folder / 'images')
    config = write_config(folder / 'tiny_inferencer.py', images)
    model = MODELS.build(dict(Config.fromfile(config).model, type='mmpretrain.GLSimClassifier'))
    model.init_weights()
    checkpoint = folder / 'weights.pth'
    torch.save({'state_dict': model.state_dict(), 'meta': {'dataset_meta': {'classes': CLASSES}}}, checkpoint)
    return config, checkpoint, images


@pytest.fixture(scope='module')
def inferencer(run) -> GLSimInferencer:
    config, checkpoint, _ = run
    return GLSimInferencer(config, checkpoint, 'cpu')


@pytest.fixture(scope='module')
def files(run) -> list[Path]:
    return sorted((run[2] / 'val').rglob('*.png'))


def assert_same(results: list[dict], others: list[dict]) -> None:
    assert len(results) == len(others) > 0
    for result, other in zip(results, others):
        assert result['pred_scores'] == pytest.approx(other['pred_scores'], abs=1e-5)
        assert result['selected_box'] == other['selected_box']
        assert result['similarity_map'] == pytest.approx(other['similarity_map'], abs=1e-5)


def test_results_say_class_and_place(inferencer, files):
    results = inferencer(files, batch_size=3, progress=False)
    assert [result['path'] for result in results] == [str(file) for file in files]
    assert [result['index'] for result in results] == list(range(8))
    for result in results:
        assert result['pred_class'] == CLASSES[result['pred_label']]
        assert result['pred_scores'].sum() == pytest.approx(1, abs=1e-5)
        x0, y0, x1, y1 = result['selected_box']
        assert 0 <= x0 < x1 <= 32 and 0 <= y0 < y1 <= 32
        assert result['similarity_map'].shape == (4, 4)
        assert [entry['class'] for entry in result['top']][0] == result['pred_class']
        assert len(result['top']) == 2 and result['top'][0]['score'] >= result['top'][1]['score']


def test_all_kinds_of_input_give_the_same(inferencer, run, files):
    folder = run[2] / 'val'
    expected = inferencer(files, progress=False)
    arrays = [decode_image(file.read_bytes()) for file in files]
    kinds = [
        str(folder),
        folder,
        f'{folder}/**/*.png',
        tuple(map(str, files)),
        [folder / name for name in CLASSES],
        (file for file in files),
        [*arrays[:4], *files[4:]],
        iter(arrays),
        [np.dstack([array, np.full((32, 32), 255, np.uint8)]) for array in arrays],
    ]
    for kind in kinds:
        assert_same(inferencer(kind, batch_size=4, progress=False), expected)
    assert_same(inferencer(str(files[0]), progress=False), expected[:1])
    assert_same(inferencer(arrays[0], progress=False), expected[:1])
    assert 'path' not in inferencer(arrays[0], progress=False)[0]


@pytest.mark.parametrize('batch_size', [1, 3, 8, 100])
def test_batch_size_does_not_matter(inferencer, files, batch_size):
    assert_same(
        inferencer(files, batch_size=batch_size, progress=False), inferencer(files, batch_size=2, progress=False)
    )


def test_grey_and_flat_images(inferencer):
    grey = np.random.default_rng(0).integers(0, 256, (40, 30), dtype=np.uint8)
    assert_same(inferencer([grey, grey[..., None]], progress=False), inferencer([np.dstack([grey] * 3)] * 2))
    (flat,) = inferencer(np.full((50, 20, 3), 200, np.uint8), progress=False)
    assert np.isfinite(flat['pred_scores']).all() and len(flat['selected_box']) == 4


def test_generators_are_read_lazily(inferencer, files):
    taken = []

    def endless():
        while True:
            taken.append(files[len(taken) % 8])
            yield taken[-1]

    results = inferencer.iterate(endless(), batch_size=4)
    assert next(results)['path'] == str(files[0])
    assert len(taken) == 4
    assert [next(results)['index'] for _ in range(4)] == [1, 2, 3, 4]
    assert len(taken) == 8
    assert inferencer(iter(()), progress=False) == inferencer([], progress=False) == []


def test_box_in_the_photo(run):
    config, checkpoint, _ = run
    cfg = load_config(config)
    cfg.test_dataloader.dataset.pipeline = [
        dict(type='LoadImage'),
        dict(type='Resize', scale=40, backend='pillow'),
        dict(type='CenterCrop', crop_size=32),
        dict(type='PackInputs'),
    ]
    photo = np.random.default_rng(1).integers(0, 256, (100, 300, 3), dtype=np.uint8)
    (result,) = GLSimInferencer(cfg, checkpoint, 'cpu')(photo, progress=False)
    x0, y0, x1, y1 = result['selected_box']
    # 300 x 100 becomes 40 x 40, of which the middle 32 are kept: x = (x' + 4) 7.5, y = (y' + 4) 2.5.
    expected = [(x0 + 4) * 7.5, (y0 + 4) * 2.5, (x1 + 4) * 7.5, (y1 + 4) * 2.5]
    assert result['selected_box_image'] == pytest.approx(expected, abs=0.05)
    cfg.test_dataloader.dataset.pipeline = [dict(type='RandomCrop', crop_size=32), dict(type='PackInputs')]
    (result,) = GLSimInferencer(cfg, checkpoint, 'cpu')(photo, progress=False)
    assert result['selected_box_image'] is None


def test_photos_of_several_sizes_without_resizing(run):
    config, checkpoint, _ = run
    cfg = load_config(config)
    cfg.test_dataloader.dataset.pipeline = [dict(type='LoadImage'), dict(type='PackInputs')]
    rng = np.random.default_rng(2)
    photos = [rng.integers(0, 256, (side, 32, 3), dtype=np.uint8) for side in (32, 32, 48, 32)]
    inferencer = GLSimInferencer(cfg, checkpoint, 'cpu')
    assert_same(inferencer(photos, batch_size=4, progress=False), inferencer(photos, progress=False))


def test_same_result_as_the_model_on_the_test_pipeline(run, files):
    config, checkpoint, _ = run
    cfg = load_config(config)
    result = GLSimInferencer(cfg, str(checkpoint), 'cpu')(str(files[0]), progress=False)[0]
    model = load_model(cfg, str(checkpoint), 'cpu')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
    packed = dataset[0]
    batch = {'inputs': [packed['inputs']], 'data_samples': [packed['data_samples']]}
    with torch.no_grad():
        sample = model.test_step(batch)[0]
    assert result['pred_scores'] == pytest.approx(sample.pred_score.numpy(), abs=1e-6)
    assert result['selected_box'] == sample.selected_box.tolist()


def test_data_samples(inferencer, files):
    sample = inferencer(files[:1], return_datasamples=True, progress=False)[0]
    assert isinstance(sample, DataSample)
    assert sample.img_path == str(files[0])
    assert sample.selected_box.shape == (4,)


def test_another_selector(run, files, inferencer):
    config, checkpoint, _ = run
    centre = GLSimInferencer(config, checkpoint, 'cpu', selector='CenterSelector')
    boxes = {tuple(result['selected_box']) for result in centre(files, progress=False)}
    assert len(boxes) == 1
    assert centre.model.neck.top_o == 3  # as in the config
    assert len({tuple(result['selected_box']) for result in inferencer(files, progress=False)}) > 1
    short = GLSimInferencer(config, checkpoint, 'cpu', selector='maws')
    assert type(short.model.neck).__name__ == 'MAWSSelector' and short.model.neck.top_o == 3
    whole = GLSimInferencer(config, checkpoint, 'cpu', selector=dict(top_o=16))
    assert type(whole.model.neck).__name__ == 'GLSimSelector'
    (result,) = whole(files[0], progress=False)
    x0, y0, x1, y1 = result['selected_box']
    assert (x1 - x0) * (y1 - y0) >= 24 * 24  # all patches, whichever end of boxes is meant
    explicit = GLSimInferencer(load_config(config), checkpoint, 'cpu', selector=dict(type='MAWSSelector', top_o=1))
    (result,) = explicit(files[0], progress=False)
    x0, y0, x1, y1 = result['selected_box']
    assert (x1 - x0) * (y1 - y0) <= 64  # one patch
    with pytest.raises(GLSimError, match='NoSelector'):
        GLSimInferencer(config, checkpoint, 'cpu', selector='NoSelector')
    cfg = load_config(config)
    cfg.model.type = 'ImageClassifier'
    with pytest.raises(GLSimError, match='no selector to replace'):
        GLSimInferencer(cfg, checkpoint, 'cpu', selector='MAWSSelector')


def test_panels_of_equal_names_are_kept_apart(inferencer, files, tmp_path):
    for folder, source in (('a', files[0]), ('b', files[1])):
        (tmp_path / folder / 'deep').mkdir(parents=True)
        for name in ('1.png', '1.bmp', 'deep/1.png'):
            Image.open(source).save(tmp_path / folder / name)
    panels = tmp_path / 'panels'
    inputs = [tmp_path / 'a', tmp_path / 'b', tmp_path / 'b' / '1.png', decode_image(files[0].read_bytes())]
    results = inferencer(inputs, show_dir=panels, progress=False)
    written = sorted(panels.rglob('*.png'))
    assert len(written) == len(results) == 8
    assert {'1.png', '1.png.png', 'deep/1.png', '000007.png'} <= {str(p.relative_to(panels)) for p in written}
    pixels = np.asarray(Image.open(written[0]))
    assert pixels.shape[0] > 224 and pixels.shape[1] > 3 * 224


def test_panels_show_the_photo_and_warnings_come_last(inferencer, files, monkeypatch, caplog, tmp_path):
    photo = tmp_path / 'wide.png'
    Image.open(files[0]).convert('RGB').resize((300, 100)).save(photo)
    drawn = []
    monkeypatch.setattr('glsim_mm.apis.inferencer.draw_panel', lambda one, side: drawn.append(one) or one.image)
    monkeypatch.setattr('glsim_mm.images.selection_strength.LARGE_SHARE', 0.0)
    with caplog.at_level(logging.WARNING, logger='glsim_mm.inferencer'):
        (result,) = inferencer(photo, show_dir=tmp_path / 'panels', progress=False)
    assert drawn[0].image.shape == (100, 300, 3) and drawn[0].is_photo
    np.testing.assert_allclose(drawn[0].selected_box, result['selected_box_image'], atol=1e-3)
    assert 'covers more than 0 % of the image in 1 of 1 photos' in caplog.messages[-1]


def test_show(inferencer, files, monkeypatch):
    monkeypatch.setenv('MPLBACKEND', 'agg')
    results = inferencer(files[:1], show=True, wait_time=0.01, progress=False)
    assert len(results) == 1


def test_json_round_trip(inferencer, files):
    results = inferencer(files[:2], progress=False, top_k=1)
    again = json.loads(json.dumps(results_to_json(results), allow_nan=False))
    assert again[1]['path'] == str(files[1])
    assert again[0]['similarity_map'] == results[0]['similarity_map'].tolist()
    assert len(again[0]['top']) == 1
    plain = results_to_json([{'a': torch.tensor([1.5, float('nan')]), 'b': Path('x'), 'c': np.float32(2), 'd': None}])
    assert plain == [{'a': [1.5, None], 'b': 'x', 'c': 2.0, 'd': None}]
    with pytest.raises(TypeError, match='DataSample'):
        results_to_json([{'a': DataSample()}])


def test_progress_bar_is_on_standard_error(inferencer, files, capsys):
    inferencer(files[:2], progress=True)
    captured = capsys.readouterr()
    assert captured.out == ''
    assert 'classifying: 2 of 2 images' in captured.err
    inferencer(files[:2], progress=False)
    assert capsys.readouterr() == ('', '')


def test_lines():
    result = {'pred_label': 3, 'pred_class': 'Laysan Albatross', 'pred_score': 0.931, 'path': 'photo.jpg'}
    assert format_prediction(result) == ' 93.1 %  Laysan Albatross  photo.jpg'
    result.update(selected_box=[1.0, 2.0, 3.0, 4.0], selected_box_image=[48.2, 32.0, 160.0, 143.6])
    assert format_prediction(result) == ' 93.1 %  Laysan Albatross  [48, 32, 160, 144]  photo.jpg'
    line = format_prediction({**result, 'path': '/a/long/folder/' * 9 + 'photo.jpg'})
    assert len(line) == 80 and line.endswith('folder/photo.jpg') and '  ...' in line
    assert format_prediction({'pred_label': 3, 'pred_score': 1.0, 'index': 4}) == '100.0 %  3  image 4'


def test_unreadable_images_are_listed(inferencer, files, tmp_path, caplog):
    for name, content in (('1.jpg', b''), ('2.png', files[0].read_bytes()), ('3.jpg', b'no image')):
        (tmp_path / name).write_bytes(content)
    (tmp_path / 'notes.txt').write_text('not an image')
    with caplog.at_level(logging.WARNING, logger='glsim_mm.inferencer'):
        results = inferencer(tmp_path, batch_size=2, progress=False, show_dir=tmp_path / 'panels')
    assert [('error' in result) for result in results] == [True, False, True]
    assert '1.jpg cannot be read' in results[0]['error'] and 'pred_label' not in results[0]
    first, *lines = [record.getMessage() for record in caplog.records]
    assert first == 'left out: 1 .txt (notes.txt)'
    assert len(lines) == 2 and '1.jpg' in lines[0] and '3.jpg' in lines[1] and '\n' not in lines[0]
    assert len(list((tmp_path / 'panels').iterdir())) == 1
    assert json.dumps(results_to_json(results))
    samples = inferencer([*sorted(tmp_path.glob('?.*'))], return_datasamples=True, progress=False)
    assert [sample.get('error') is None for sample in samples] == [False, True, False]
    assert samples[2].img_path == str(tmp_path / '3.jpg')


def test_mistakes(run, inferencer, tmp_path):
    config, checkpoint, _ = run
    with pytest.raises(GLSimError, match=r'nowhere\.jpg does not exist'):
        inferencer(tmp_path / 'nowhere.jpg')
    with pytest.raises(GLSimError, match='no image in'):
        inferencer(tmp_path)
    with pytest.raises(GLSimError, match=r'no image in .*\*\.jpg'):
        inferencer(str(tmp_path / '**' / '*.jpg'))
    with pytest.raises(GLSimError, match=r'gone\.pth does not exist'):
        GLSimInferencer(config, str(tmp_path / 'gone.pth'))
    torch.save({'state_dict': {'head.fc.bias': torch.zeros(2)}}, tmp_path / 'other.pth')
    with pytest.raises(GLSimError, match='another model'):
        GLSimInferencer(config, str(tmp_path / 'other.pth'))
    for wrong in (np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8), np.zeros((2, 4, 4, 3), np.uint8)):
        with pytest.raises(GLSimError, match='an image array must be'):
            inferencer(wrong, progress=False)
    for wrong in (3, [3]):
        with pytest.raises(GLSimError, match='not int'):
            inferencer(wrong)
    with pytest.raises(GLSimError, match='batch_size'):
        inferencer(np.zeros((4, 4, 3), np.uint8), batch_size=0)


def test_a_checkpoint_that_names_no_classes_is_told(run, files, tmp_path, mmengine_log):
    config, checkpoint, _ = run
    torch.save({'state_dict': torch.load(checkpoint)['state_dict']}, tmp_path / 'nameless.pth')
    (result,) = GLSimInferencer(config, tmp_path / 'nameless.pth')(files[0], progress=False)
    assert 'pred_class' not in result
    assert 'nameless.pth does not name its classes: predictions are numbers' in mmengine_log.text
