"""Figures about data sets, counted by hand here."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from published_layouts import write_inaturalist2017, write_oxford_pets

from glsim_mm.datasets import FolderDataset, INaturalist2017, OxfordPetsFormat, TableDataset
from glsim_mm.datasets.dataset_statistics import collect_statistics, format_statistics, to_csv
from glsim_mm.errors import GLSimError
from glsim_mm.images.decoding import NOT_AN_IMAGE
from glsim_mm.images.image_files import UnreadableFile


def write_noise(path: Path, size: tuple[int, int], seed: int, turned: bool = False) -> None:
    """A JPEG of a width and height; ``turned`` says in its EXIF data that it lies on its side."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    exif = Image.Exif()
    if turned:
        exif[0x0112] = 6
    Image.fromarray(pixels).save(path, 'JPEG', exif=exif)


@pytest.fixture
def photos(tmp_path) -> Path:
    """Three cats, one of them turned and two equal, and a dog that cannot be read."""
    write_noise(tmp_path / 'cat' / '1.jpg', (50, 40), 0)
    (tmp_path / 'cat' / '2.jpg').write_bytes((tmp_path / 'cat' / '1.jpg').read_bytes())
    write_noise(tmp_path / 'cat' / '3.jpg', (30, 90), 1, turned=True)
    (tmp_path / 'dog').mkdir()
    (tmp_path / 'dog' / '1.jpg').write_text('<html>')
    return tmp_path


def test_every_figure(photos):
    statistics = collect_statistics(FolderDataset(data_root=str(photos), pipeline=[]))
    assert statistics.names == ('cat', 'dog')
    assert statistics.counts.tolist() == [3, 1]
    assert statistics.sizes.tolist() == [[50, 40], [50, 40], [90, 30]]
    assert statistics.num_without_box is None
    assert statistics.unreadable == [UnreadableFile(str(photos / 'dog' / '1.jpg'), NOT_AN_IMAGE)]
    assert [[Path(path).name for path in group] for group in statistics.duplicates] == [['1.jpg', '2.jpg']]


def test_text(photos):
    lines = format_statistics(collect_statistics(FolderDataset(data_root=str(photos), pipeline=[]))).splitlines()
    assert lines[:5] == [
        '4 images of 2 classes',
        'images per class: min 1, median 2, max 3',
        'classes of one image: 1 (dog)',
        'width in pixels: min 50, median 50, max 90',
        'height in pixels: min 30, median 40, max 40',
    ]
    assert 'unreadable: 1' in lines and f'  {photos / "dog" / "1.jpg"}: {NOT_AN_IMAGE}' in lines
    assert 'equal content: 1' in lines
    assert lines[-2:] == ['cat         3', 'dog         1']


def test_csv(photos):
    statistics = collect_statistics(FolderDataset(data_root=str(photos), pipeline=[]), duplicates=False)
    assert statistics.duplicates is None
    statistics.names = ('cat, "the" one', 'dog')
    assert to_csv(statistics) == 'label,class,images\n0,"cat, ""the"" one",3\n1,dog,1\n'


def test_only_the_largest_and_smallest_classes(tmp_path):
    rows = [f'{name}{i}.jpg,{name}' for name, number in zip('abcdef', (1, 5, 2, 4, 3, 6)) for i in range(number)]
    (tmp_path / 'all.csv').write_text('path,label\n' + '\n'.join(rows))
    statistics = collect_statistics(TableDataset('all.csv', str(tmp_path)))
    table = [line.split() for line in format_statistics(statistics, classes=2).split('\n\n')[1].splitlines()]
    assert table == [['f', '6'], ['b', '5'], ['...'], ['c', '2'], ['a', '1']]
    assert len(format_statistics(statistics, classes=3).split('\n\n')[1].splitlines()) == 6
    assert [file.reason for file in statistics.unreadable] == ['No such file or directory'] * 21
    assert 'and 11 more' in format_statistics(statistics)
    assert 'pixels' not in format_statistics(statistics)


def test_images_without_a_box(tmp_path):
    dataset = INaturalist2017(str(write_inaturalist2017(tmp_path)), 'train', with_boxes=True)
    statistics = collect_statistics(dataset)
    assert statistics.num_without_box == 1
    assert 'images without a box: 1' in format_statistics(statistics)


def test_no_boxes_at_all(tmp_path):
    write_oxford_pets(tmp_path)
    assert collect_statistics(OxfordPetsFormat(str(tmp_path), 'test')).num_without_box is None


class Listed:
    """The part of a data set that statistics use."""

    def __init__(self, samples: list[dict], classes: tuple[str, ...] = ()) -> None:
        self.samples, self.metainfo = samples, dict(classes=classes)

    def __len__(self) -> int:
        return len(self.samples)

    def get_data_info(self, index: int) -> dict:
        return self.samples[index]


@pytest.mark.parametrize(
    'samples, words',
    [
        ([], 'has no image'),
        ([dict(img_path='x.jpg')], 'x.jpg has no label'),
        ([dict(img_path='x.jpg', gt_label=[0, 1])], 'x.jpg has 2 labels'),
        ([dict(img_path='x.jpg', gt_label=2)], 'x.jpg has the label 2, but there are 2 classes'),
        ([dict(img_path='x.jpg', gt_label=-1)], 'the label -1'),
    ],
)
def test_what_cannot_be_counted(samples, words):
    with pytest.raises(GLSimError, match=words):
        collect_statistics(Listed(samples, ('a', 'b')))


def test_classes_without_an_image(photos):
    samples = [dict(img_path=str(photos / 'cat' / '1.jpg'), gt_label=0)]
    statistics = collect_statistics(Listed(samples, ('cat', 'dog', 'cow')))
    assert statistics.counts.tolist() == [1, 0, 0]
    assert 'classes without an image: 2' in format_statistics(statistics)


def test_classes_without_names_and_a_list_with_repeated_images(photos):
    path = str(photos / 'cat' / '1.jpg')
    samples = [dict(img_path=path, gt_label=np.array([1])), dict(img_path=path, gt_label=3)]
    statistics = collect_statistics(Listed(samples))
    assert statistics.names == ('class 0', 'class 1', 'class 2', 'class 3')
    assert statistics.counts.tolist() == [0, 1, 0, 1]
    assert statistics.duplicates == []


def test_progress_and_headers_alone(photos):
    content = (photos / 'cat' / '1.jpg').read_bytes()
    (photos / 'cat' / '1.jpg').write_bytes(content[: len(content) // 2])  # the header is there
    steps = []
    statistics = collect_statistics(
        FolderDataset(data_root=str(photos), pipeline=[]), False, 1, lambda *step: steps.append(step)
    )
    assert len(statistics.sizes) == 3
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    with pytest.raises(OSError):
        Image.open(io.BytesIO(content[: len(content) // 2])).load()
