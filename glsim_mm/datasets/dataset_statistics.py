"""Statistics of a data set: images per class, image sizes, boxes, unreadable and equal files."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.dataset import BaseDataset

from ..errors import GLSimError
from .image_files import Progress, UnreadableFile, find_duplicates, image_sizes

_SHOWN = 10
_LONGEST_NAME = 48


@dataclass
class DatasetStatistics:
    """Statistics of one split of a data set."""

    names: tuple[str, ...]  # of the classes
    counts: np.ndarray  # (C,) int64, images of each class
    sizes: np.ndarray  # (n, 2) int64, width and height in pixels of the readable images, as they are shown
    num_without_box: int | None  # None if the data set has no boxes at all
    unreadable: list[UnreadableFile]  # files that are missing or whose header cannot be read
    duplicates: list[list[str]] | None  # groups of files with equal content; None if they were not compared


def collect_statistics(
    dataset: BaseDataset, duplicates: bool = True, workers: int | None = None, progress: Progress | None = None
) -> DatasetStatistics:
    """Read the annotations of a data set and the headers of its images; with ``duplicates``, compare the files too.

    Any data set of mmpretrain with one label per image will do, or a wrapper; its pipeline is not run.
    """
    samples = [dataset.get_data_info(index) for index in range(len(dataset))]
    if not samples:
        raise GLSimError('the data set has no image; check its paths')
    names = tuple(str(name) for name in dataset.metainfo.get('classes') or ())
    labels = [_label(sample, len(names)) for sample in samples]
    num_classes = len(names) or max(labels) + 1
    paths = [str(sample['img_path']) for sample in samples]
    measured = image_sizes(paths, workers, progress)
    sizes = [size for size in measured if not isinstance(size, UnreadableFile)]
    with_boxes = [sample for sample in samples if 'gt_bboxes' in sample]
    return DatasetStatistics(
        names=names or tuple(f'class {label}' for label in range(num_classes)),
        counts=np.bincount(labels, minlength=num_classes),
        sizes=np.array(sizes, np.int64).reshape(-1, 2),
        num_without_box=sum(not len(sample.get('gt_bboxes', ())) for sample in samples) if with_boxes else None,
        unreadable=[size for size in measured if isinstance(size, UnreadableFile)],
        duplicates=find_duplicates(list(dict.fromkeys(paths)), workers) if duplicates else None,
    )


def format_statistics(statistics: DatasetStatistics, classes: int | None = None) -> str:
    """Format statistics as text: totals, then a line for each class in the order of the labels.

    With a number of ``classes``, only so many with most images are listed, and as many with fewest.
    """
    counts = statistics.counts
    lines = [f'{counts.sum():,} images of {len(counts):,} classes', f'images per class: {_spread(counts)}']
    empty = int((counts == 0).sum())
    if empty:
        lines.append(f'classes without an image: {empty:,}')
    if len(statistics.sizes):
        for what, values in zip(('width', 'height'), statistics.sizes.T):
            lines.append(f'{what} in pixels: {_spread(values)}')
    if statistics.num_without_box is not None:
        lines.append(f'images without a box: {statistics.num_without_box:,}')
    lines += _listed('unreadable', [f'{file.path}: {file.reason}' for file in statistics.unreadable])
    if statistics.duplicates is not None:
        lines += _listed('equal content', [', '.join(group) for group in statistics.duplicates])
    return '\n'.join([*lines, '', *_table(statistics, classes)])


def to_csv(statistics: DatasetStatistics) -> str:
    """Format the images of each class as CSV with the columns ``label``, ``class``, ``images``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['label', 'class', 'images'])
    writer.writerows(zip(range(len(statistics.names)), statistics.names, statistics.counts.tolist()))
    return text.getvalue()


def _label(sample: dict, num_classes: int) -> int:
    """Label of a sample. With ``num_classes=0`` the classes have no names, so any number is valid."""
    path, label = Path(str(sample.get('img_path', 'an image'))), sample.get('gt_label')
    if label is None:
        raise GLSimError(f'{path} has no label; statistics need a split with labels')
    if np.size(label) != 1:
        raise GLSimError(f'{path} has {np.size(label)} labels; statistics are of single-label data sets only')
    number = int(np.asarray(label).item())
    if number < 0 or (num_classes and number >= num_classes):
        raise GLSimError(f'{path} has the label {number}, but there are {num_classes} classes; correct the annotations')
    return number


def _spread(values: np.ndarray) -> str:
    return f'min {values.min():,}, median {np.median(values):,g}, max {values.max():,}'


def _listed(what: str, found: Sequence[str]) -> list[str]:
    lines = [f'{what}: {len(found):,}', *(f'  {one}' for one in found[:_SHOWN])]
    return [*lines, f'  and {len(found) - _SHOWN:,} more'] if len(found) > _SHOWN else lines


def _table(statistics: DatasetStatistics, classes: int | None) -> list[str]:
    cut: Sequence[int | None] = range(len(statistics.counts))
    if classes is not None and 2 * classes < len(cut):
        by_count = np.argsort(-statistics.counts, kind='stable')
        cut = [*by_count[:classes], None, *by_count[-classes:]]
    width = min(max(len(name) for name in statistics.names), _LONGEST_NAME)
    return [
        '...' if label is None else f'{statistics.names[label]:<{width}} {statistics.counts[label]:>9,}'
        for label in cut
    ]
