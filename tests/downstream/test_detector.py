"""A detector of mmdet in front of the classifier."""

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from PIL import Image
from tiny_downstream import render_fish, tiny_config
from tiny_run import call_tool, write_config, write_images

from glsim_mm.apis import build_runner
from glsim_mm.search import ImageSearch, MMDetDetector, ObjectSearch, to_data_samples
from retrieval.errors import UserError


@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    """Config and checkpoint of a RetinaNet that has seen 40 batches of fish, and the fish."""
    folder = tmp_path_factory.mktemp('detector')
    fish = render_fish(folder / 'fish')
    config = tiny_config('mmdet/retinanet_glsim_vit_coco.py', fish, folder / 'run')
    config.train_cfg.max_iters = 40
    DefaultScope._instance_dict.clear()
    build_runner(config).train()
    config.dump(folder / 'detector.py')
    return folder / 'detector.py', folder / 'run' / 'iter_40.pth', fish


@pytest.fixture(scope='module')
def classifier(tmp_path_factory):
    """Config, weights and gallery of a tiny GLSim."""
    folder = tmp_path_factory.mktemp('classifier')
    images = write_images(folder / 'images', side=48)
    config = write_config(folder / 'tiny_behind_detector.py', images)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(dict(Config.fromfile(config).model))
    torch.save({'state_dict': model.state_dict()}, folder / 'weights.pth')
    options = dict(device='cpu', num_workers=0)
    ImageSearch.build(images / 'val', config, folder / 'weights.pth', folder / 'gallery', **options).close()
    return config, folder / 'weights.pth', folder / 'gallery'


def test_finds_what_mmdet_finds(detector):
    from mmdet.apis import inference_detector, init_detector

    config, checkpoint, fish = detector
    paths = sorted((fish / 'images').rglob('*.png'))[:5]
    photos = [np.ascontiguousarray(np.asarray(Image.open(path))[:, :, ::-1]) for path in paths]
    expected = inference_detector(init_detector(str(config), str(checkpoint), device='cpu'), photos)
    found = MMDetDetector(config, checkpoint, 'cpu', score_threshold=0.0, batch_size=2, max_objects=7)(photos)
    assert len(found) == 5
    for one, other in zip(found, expected):
        instances = other.pred_instances
        np.testing.assert_allclose(one.boxes, instances.bboxes[:7].numpy(), atol=1e-2)
        np.testing.assert_allclose(one.scores, instances.scores[:7].numpy(), atol=1e-4)
        assert one.labels.tolist() == instances.labels[:7].tolist()
        assert one.names == ('001.One_spot_fish', '002.Two_spots_fish')


def test_thresholds_and_classes(detector):
    config, checkpoint, fish = detector
    photo = np.asarray(Image.open(next((fish / 'images').rglob('*.png'))))
    everything = MMDetDetector(config, checkpoint, 'cpu', 0.0)([photo])[0]
    middle = float(np.median(everything.scores))
    some = MMDetDetector(config, checkpoint, 'cpu', middle)([photo])[0]
    assert 0 < len(some.boxes) < len(everything.boxes) and some.scores.min() >= middle
    one_class = MMDetDetector(config, checkpoint, 'cpu', 0.0, classes=['002.Two_spots_fish'])([photo])[0]
    assert set(one_class.labels.tolist()) == {1}
    with pytest.raises(UserError, match="no class 'whale'; it has: 001.One_spot_fish"):
        MMDetDetector(config, checkpoint, 'cpu', classes=['whale'])
    with pytest.raises(UserError, match='does not exist'):
        MMDetDetector(config, 'none.pth')


def test_detect_recognise_search_in_one_call(detector, classifier):
    config, checkpoint, fish = detector
    search = ObjectSearch.open(
        *classifier, config, checkpoint, device='cpu', score_threshold=0.0, max_objects=6, batch_size=5
    )
    results = search(str(fish / 'images' / '001.One_spot_fish'), k=3)
    samples = to_data_samples(results, k=3)
    assert len(samples) == len(results) > 1
    for result, sample in zip(results, samples):
        assert isinstance(sample, DetDataSample) and sample.ori_shape == result.shape == (96, 96)
        instances = sample.pred_instances
        assert len(instances) == len(result.objects) == 6
        assert instances.bboxes.shape == instances.regions.shape == (6, 4) and instances.neighbor_ids.shape == (6, 3)
        assert instances.fine_labels.tolist() == [one.label for one in result.objects]
        assert instances.neighbor_ids[0].tolist() == [hit.record.id for hit in result.objects[0].hits]
        assert instances.neighbor_labels[0] == [hit.record.label for hit in result.objects[0].hits]
    empty = to_data_samples(search([np.zeros((40, 40, 3), np.uint8)], [np.zeros((0, 4))]))[0]
    assert len(empty.pred_instances) == 0 and empty.pred_instances.bboxes.shape == (0, 4)
    search.close()


def test_command_line_with_a_detector(detector, classifier, capsys, tmp_path):
    config, checkpoint, fish = detector
    photo = next((fish / 'images').rglob('*.png'))
    call_tool(
        'detect_and_search', photo,
        '--config', classifier[0], '--checkpoint', classifier[1], '--gallery', classifier[2],
        '--detector-config', config, '--detector-checkpoint', checkpoint, '--score', 0, '--max-objects', 2,
        '--device', 'cpu', '--show-dir', tmp_path,
    )  # fmt: skip
    out = capsys.readouterr().out
    assert '  2. 00' in out and '_fish 0.' in out and 'class: ' in out
    assert (tmp_path / f'{photo.stem}.jpg').is_file()
