import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS, MODELS
from PIL import Image
from tiny_run import CLASSES, call_tool, write_config, write_images

from glsim_mm.apis import GLSimInferencer, find_images, load_config, load_model, predict_files
from glsim_mm.errors import GLSimError


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


def test_results_say_class_and_place(run):
    config, checkpoint, images = run
    files = find_images([images / 'val'])
    results = list(predict_files(GLSimInferencer(config, str(checkpoint), 'cpu'), files, batch_size=3))
    assert [result['path'] for result in results] == [str(file) for file in files]
    for result in results:
        assert result['pred_class'] == CLASSES[result['pred_label']]
        assert result['pred_scores'].sum() == pytest.approx(1, abs=1e-5)
        x0, y0, x1, y1 = result['selected_box']
        assert 0 <= x0 < x1 <= 32 and 0 <= y0 < y1 <= 32
        assert result['similarity_map'].shape == (4, 4)


def test_same_result_as_the_model_on_the_test_pipeline(run):
    config, checkpoint, images = run
    cfg = load_config(config)
    file = find_images([images / 'val'])[0]
    result = GLSimInferencer(cfg, str(checkpoint), 'cpu')(str(file))[0]
    model = load_model(cfg, str(checkpoint), 'cpu')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
    packed = dataset[0]
    batch = {'inputs': [packed['inputs']], 'data_samples': [packed['data_samples']]}
    with torch.no_grad():
        sample = model.test_step(batch)[0]
    assert result['pred_scores'] == pytest.approx(sample.pred_score.numpy(), abs=1e-6)
    assert result['selected_box'] == sample.selected_box.tolist()


def test_command_line_leaves_out_unreadable_images(run, tmp_path, capsys):
    config, checkpoint, _ = run
    Image.new('RGB', (40, 50), 'red').save(tmp_path / 'good.jpg')
    (tmp_path / 'empty.jpg').write_bytes(b'')
    call_tool('predict', config, checkpoint, tmp_path, '--out', tmp_path / 'out.json', '--device', 'cpu')
    output = capsys.readouterr().out
    assert 'Inference' not in output  # mmpretrain's progress bar, in between the results
    (line,) = [line for line in output.splitlines() if line.endswith('.jpg') and '%' in line]
    assert 'good.jpg' in line
    (result,) = json.loads((tmp_path / 'out.json').read_text())
    assert len(result['similarity_map']) == 4


def test_mistakes(run, tmp_path):
    config, checkpoint, _ = run
    with pytest.raises(GLSimError, match=r'nowhere\.jpg does not exist'):
        find_images([tmp_path / 'nowhere.jpg'])
    with pytest.raises(GLSimError, match='no image'):
        find_images([tmp_path])
    with pytest.raises(GLSimError, match=r'gone\.pth does not exist'):
        GLSimInferencer(config, str(tmp_path / 'gone.pth'))
    torch.save({'state_dict': {'head.fc.bias': torch.zeros(2)}}, tmp_path / 'other.pth')
    with pytest.raises(GLSimError, match='another model'):
        GLSimInferencer(config, str(tmp_path / 'other.pth'))
    (tmp_path / 'empty.jpg').write_bytes(b'')
    with pytest.raises(GLSimError, match=r'empty\.jpg cannot be read'):
        GLSimInferencer(config, str(checkpoint), 'cpu')(str(tmp_path / 'empty.jpg'))
