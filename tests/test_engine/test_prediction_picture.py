"""Pictures of predictions."""

import numpy as np
from mmengine.dataset import BaseDataset
from PIL import Image
from tiny_run import CLASSES, call_tool, write_config, write_images

from glsim_mm.engine.hooks.prediction_panels import picture_name


def test_names_keep_class_folders_apart():
    dataset = BaseDataset(data_root='/data/birds', data_prefix={}, lazy_init=True)
    assert picture_name('/data/birds/wren/1.jpg', dataset, 0) == 'wren/1'
    assert picture_name('/data/birds/tit/1.jpg', dataset, 3) == 'tit/1_3'
    assert picture_name('/elsewhere/1.jpg', dataset, 0) == '1'
    assert picture_name('17', dataset, 0) == '17'


def test_red_image_stays_red(tmp_path):
    images = write_images(tmp_path / 'images')
    side = 64
    red = images / 'val' / CLASSES[0] / f'{CLASSES[0]}0.png'
    Image.new('RGB', (side, side), (255, 0, 0)).save(red)
    config = write_config(tmp_path / 'tiny_red.py', images)
    work_dir = tmp_path / 'work'
    call_tool('train', config, '--work-dir', work_dir, '--no-validate', '--cfg-options', 'train_cfg.max_epochs=1')
    options = ['--show-dir', tmp_path / 'pictures', '--interval', 7, '--cfg-options', 'test_dataloader.batch_size=3']
    call_tool('test', config, work_dir / 'epoch_1.pth', '--work-dir', work_dir, *options)
    pictures = sorted((tmp_path / 'pictures').rglob('*.png'))
    folder = tmp_path / 'pictures' / 'val'  # the first image, and the seventh after it, in a batch of two
    assert pictures == [folder / CLASSES[0] / f'{CLASSES[0]}0.png', folder / CLASSES[1] / f'{CLASSES[1]}3.png']
    pixels = np.asarray(Image.open(pictures[0]).convert('RGB'))
    red = (pixels == [255, 0, 0]).all(axis=-1)
    assert red.sum() > side * side  # the image, enlarged
    assert not (pixels == [0, 0, 255]).all(axis=-1).any()
