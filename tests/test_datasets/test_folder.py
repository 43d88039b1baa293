"""Photos of all kinds in folders of classes are found, by data sets and tools alike."""

import shutil

import pytest
from image_files import two_colors
from mmengine.config import Config
from mmengine.fileio import BaseStorageBackend, register_backend

from glsim_mm.apis.dataset_overview import describe_dataset
from glsim_mm.datasets import FolderDataset
from glsim_mm.datasets.class_mapping import label_names
from glsim_mm.errors import GLSimError
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


def test_junk_exclusions_and_photos_without_a_class_are_left_out_and_counted(root):
    train = root / 'train'
    for name in ('.ipynb_checkpoints', '@eaDir', 'ani/.thumbnails', 'ani/drafts'):
        shutil.copytree(train / 'wren', train / name)
    for name in ('ani/._photo.jpg', 'ani/notes.txt', 'ani/a.psd', 'loose.jpg'):
        (train / name).touch()
    dataset = FolderDataset(str(root), data_prefix='train', exclude=['drafts', 'wren/*.gif'], pipeline=[])
    assert dataset.metainfo['classes'] == ('ani', 'wren') and len(dataset) == 2 * len(KINDS) - 1
    assert {reason: sorted(paths) for reason, paths in dataset.left_out.by_reason.items()} == {
        'hidden or of the system': ['.ipynb_checkpoints', '@eaDir', 'ani/._photo.jpg', 'ani/.thumbnails'],
        'excluded': ['ani/drafts', 'wren/photo.gif'],
        '.txt': ['ani/notes.txt'],
        '.psd': ['ani/a.psd'],
        'in no folder of a class': ['loose.jpg'],
    }
    without_labels = FolderDataset(str(root), data_prefix='train', exclude='drafts', with_label=False, pipeline=[])
    assert len(without_labels) == 2 * len(KINDS) + 1


def test_classes_that_are_folders_number_them(root):
    (root / 'train' / 'zebra').mkdir()
    dataset = FolderDataset(str(root), data_prefix='train', classes=('zebra', 'wren', 'none', 'ani'), pipeline=[])
    labels = {sample['img_path'].split('/')[-2]: sample['gt_label'] for sample in map(dataset.get_data_info, range(18))}
    assert labels == {'ani': 3, 'wren': 1}
    assert label_names(dataset) == ('zebra', 'wren', 'none', 'ani')


def test_classes_that_are_no_folders_name_them_in_order(root):
    dataset = FolderDataset(str(root), data_prefix='train', classes=('Anis', 'Wrens'), pipeline=[])
    assert {sample['gt_label'] for sample in map(dataset.get_data_info, range(9))} == {0}
    with pytest.raises(GLSimError, match="has 2 folders, such as 'wren', for 1 given classes"):
        FolderDataset(str(root), data_prefix='train', classes=('ani',), pipeline=[])


def test_folders_without_photos_are_told_in_one_sentence(root):
    shutil.rmtree(root / 'val' / 'ani')
    shutil.rmtree(root / 'val' / 'wren')
    (root / 'val' / 'x.xyz').touch()
    with pytest.raises(GLSimError, match=r'no folder of photos for each class in .*val; .*left out: 1 \.xyz'):
        FolderDataset(str(root), data_prefix='val', pipeline=[])
    with pytest.raises(FileNotFoundError):  # told by explain_config_errors
        FolderDataset(str(root), data_prefix='none', pipeline=[])


class Storage(BaseStorageBackend):
    """A storage with a few names of files."""

    FILES = ('ani/1.jpg', 'wren/2.jpg', 'wren/.x/3.jpg', '@eaDir/ani/1.jpg', '@eaDir/4.jpg', 'ani/5.txt', 'no/6.txt')

    def get(self, path):
        raise NotImplementedError

    get_text = get

    def join_path(self, *parts):
        return '/'.join(part for part in parts if part)

    def list_dir_or_file(self, *_, **options):
        return iter(self.FILES)


def test_storages_are_listed_alike():
    register_backend('birds', Storage, prefixes='birds', force=True)
    dataset = FolderDataset('birds://all', pipeline=[])
    paths = [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]
    assert paths == ['birds://all/ani/1.jpg', 'birds://all/wren/2.jpg']
    assert dataset.metainfo['classes'] == ('ani', 'no', 'wren')
    assert sorted(dataset.left_out.by_reason['hidden or of the system']) == ['@eaDir', 'wren/.x']
    assert dataset.left_out.by_reason['.txt'] == ['ani/5.txt', 'no/6.txt']
