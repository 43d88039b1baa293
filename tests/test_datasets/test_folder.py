"""Photos of all kinds in folders of classes are found, by data sets and tools alike."""

import pytest
from image_files import two_colors
from mmengine.config import Config

from glsim_mm.apis.dataset_overview import describe_dataset
from glsim_mm.datasets import FolderDataset
from glsim_mm.images.photos import find_images

KINDS = dict(
    jpg='JPEG', jfif='JPEG', png='PNG', webp='WEBP', tiff='TIFF', gif='GIF', mpo='MPO', avif='AVIF', jp2='JPEG2000'
)


@pytest.fixture
def root(tmp_path):
    for split in ('train', 'val'):
        for name in ('ani', 'wren'):
            (tmp_path / split / name).mkdir(parents=True)
            for suffix, kind in KINDS.items():
                two_colors().save(tmp_path / split / name / f'photo.{suffix}', kind)
    return tmp_path


def test_all_kinds_are_read_in_every_split(root):
    steps = [dict(type='LoadImage', on_unreadable='error'), dict(type='PackInputs')]
    for split in ('train', 'val'):
        dataset = FolderDataset(data_root=str(root), data_prefix=split, pipeline=steps)
        assert len(dataset) == 2 * len(KINDS) == len(find_images(root / split))
        assert all(tuple(sample['inputs'].shape) == (3, 24, 40) for sample in dataset)


def test_config_of_folders_and_statistics_take_them(root):
    cfg = Config.fromfile('configs/glsim_vit_custom.py')
    cfg.train_dataloader.dataset.data_root = str(root)
    found = describe_dataset(cfg, progress=False)
    assert found.counts.tolist() == [len(KINDS)] * 2 and not found.unreadable
    assert found.sizes.tolist() == [[40, 24]] * (2 * len(KINDS))


def test_other_endings_can_be_chosen(root):
    dataset = FolderDataset(data_root=str(root), data_prefix='train', extensions=['.webp'], pipeline=[])
    assert len(dataset) == 2
