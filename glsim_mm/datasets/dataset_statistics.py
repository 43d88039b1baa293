"""Statistics of a data set: images per class, image sizes, boxes, and what is wrong with images, classes and boxes."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mmengine.dataset import BaseDataset

from ..errors import GLSimError, name_some
from ..images.image_files import FileFacts, Leak, Progress, UnreadableFile, examine_files, find_leaks, group_equal
from ..images.photo_folders import LeftOut, with_hint
from ..images.photos import on_one_line
from .data_faults import HIDDEN_PHOTOS, describe_classes, find_box_fault, find_junk, left_out_of

_SHOWN = 10
_NAMED = 5  # classes
_LONGEST_NAME = 48


@dataclass
class DatasetStatistics:
    """Statistics of one split of a data set.

    Attributes:
        names: Of the classes.
        counts: int64, (C,), images of each class.
        sizes: int64, (n, 2), width and height in pixels of the readable images, as they are shown.
        num_without_box: Images without a box; None if the data set has no boxes at all.
        unreadable: Files that are missing or cannot be read; where files are not compared, only their headers are.
        duplicates: Groups of files with equal content; None if they were not compared.
        near_copies: Groups of files that look alike; None if they were not compared.
        leaks: Images that each other split has too; None if they were not compared.
        box_faults: Images with boxes that cannot be right, by what is wrong; each with its boxes and size.
        num_turned: Images with boxes that EXIF data turns by a quarter.
        left_out: What lies in folders beside the images.
        junk: Images in hidden or system folders, which lists, tables and mmpretrain's ``CustomDataset`` take.
        notes: What could not be found out, in sentences.
    """

    names: tuple[str, ...]
    counts: np.ndarray
    sizes: np.ndarray
    num_without_box: int | None
    unreadable: list[UnreadableFile]
    duplicates: list[list[str]] | None
    near_copies: list[list[str]] | None = None
    leaks: dict[str, list[Leak]] | None = None
    box_faults: dict[str, list[str]] = field(default_factory=dict)
    num_turned: int = 0
    left_out: LeftOut = field(default_factory=LeftOut)
    junk: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def collect_statistics(
    dataset: BaseDataset,
    duplicates: bool = True,
    workers: int | None = None,
    progress: Progress | None = None,
    others: Mapping[str, BaseDataset] | None = None,
) -> DatasetStatistics:
    """Read the annotations of a data set and the headers of its images; with ``duplicates``, compare the images too.

    Any data set of mmpretrain with one label per image will do, or a wrapper; its pipeline is not run. Images are
    compared with each other, and with those of ``others``, which are other splits by name. For that, all are decoded.
    """
    samples = [dataset.get_data_info(index) for index in range(len(dataset))]
    if not samples:
        raise GLSimError('the data set has no image; check its paths')
    names = tuple(str(name) for name in dataset.metainfo.get('classes') or ())
    labels = [_label(sample, len(names)) for sample in samples]
    num_classes = len(names) or max(labels) + 1
    splits = {'': [str(sample['img_path']) for sample in samples]}
    for name, other in (others or {}).items() if duplicates else ():
        splits[name] = [str(other.get_data_info(index)['img_path']) for index in range(len(other))]
    paths = list(dict.fromkeys(path for split in splits.values() for path in split))
    facts = dict(zip(paths, examine_files(paths, duplicates, workers, progress)))
    good = {path: fact for path, fact in facts.items() if isinstance(fact, FileFacts)}
    known = {name: {path: good[path] for path in split if path in good} for name, split in splits.items()}
    own = list(known.pop(''))
    near, leaks = find_leaks({path: good[path] for path in own}, known) if duplicates else (None, None)
    statistics = DatasetStatistics(
        names=names or tuple(f'class {label}' for label in range(num_classes)),
        counts=np.bincount(labels, minlength=num_classes),
        sizes=np.array([good[path].size for path in splits[''] if path in good], np.int64).reshape(-1, 2),
        num_without_box=None,
        unreadable=[fact for fact in map(facts.__getitem__, splits['']) if isinstance(fact, UnreadableFile)],
        duplicates=group_equal(own, [good[path].digest for path in own]) if duplicates else None,
        near_copies=near,
        leaks=leaks,
        left_out=left_out_of(dataset),
        junk=find_junk(splits['']),
    )
    _examine_boxes(samples, good, statistics)
    return statistics


def format_statistics(statistics: DatasetStatistics, classes: int | None = None) -> str:
    """Format statistics as text: totals, then a line for each class in the order of the labels.

    With a number of ``classes``, only so many with most images are listed, and as many with fewest.
    """
    counts = statistics.counts
    lines = [*statistics.notes, f'{counts.sum():,} images of {len(counts):,} classes']
    lines.append(f'images per class: {_spread(counts)}')
    for what, found in describe_classes(statistics.names, counts):
        lines += [f'{what}: {len(found):,} ({name_some(found, _NAMED)})'] if found else []
    if np.count_nonzero(counts) == 1:
        lines.append('all images are of one class: a classifier learns nothing from them, and is right in 100 %')
    if len(statistics.sizes):
        for what, values in zip(('width', 'height'), statistics.sizes.T):
            lines.append(f'{what} in pixels: {_spread(values)}')
    if statistics.num_without_box is not None:
        lines.append(f'images without a box: {statistics.num_without_box:,}')
    if statistics.num_turned:
        what = 'boxes must be in pixels of the upright photo'
        lines.append(f'images with a box that EXIF turns by a quarter: {statistics.num_turned:,} ({what})')
    for what, found in statistics.box_faults.items():
        lines += _listed(what, found)
    lines += _listed('unreadable', [f'{file.path}: {file.reason}' for file in statistics.unreadable])
    for what, groups in (('equal content', statistics.duplicates), ('near copies', statistics.near_copies)):
        lines += [] if groups is None else _listed(what, [', '.join(group) for group in groups])
    for split, leaks in (statistics.leaks or {}).items():
        for what, is_equal in (('equal content', True), ('near copies', False)):
            pairs = [f'{leak.path}, {leak.other}' for leak in leaks if leak.is_equal == is_equal]
            lines += _listed(f'also in {split}, {what}', pairs)
    lines += _listed(HIDDEN_PHOTOS, statistics.junk) if statistics.junk else []
    for reason, left in statistics.left_out.by_reason.items():
        lines += _listed(f'left out, {with_hint(reason)}', left)
    return '\n'.join([*lines, '', *_table(statistics, classes)])


def to_csv(statistics: DatasetStatistics) -> str:
    """Format the images of each class as CSV with the columns ``label``, ``class``, ``images``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['label', 'class', 'images'])
    writer.writerows(zip(range(len(statistics.names)), statistics.names, statistics.counts.tolist()))
    return text.getvalue()


def _examine_boxes(samples: Sequence[dict], facts: Mapping[str, FileFacts], statistics: DatasetStatistics) -> None:
    """Fill in what is known of the boxes."""
    if not any('gt_bboxes' in sample for sample in samples):
        return
    statistics.num_without_box = sum(not len(sample.get('gt_bboxes', ())) for sample in samples)
    for sample in samples:
        path, boxes = str(sample['img_path']), np.asarray(sample.get('gt_bboxes', ()), np.float64).reshape(-1, 4)
        if len(boxes) and path in facts:
            size, stored = facts[path].size, facts[path].stored_size
            statistics.num_turned += size != stored
            fault = find_box_fault(boxes, facts[path])
            if fault is not None:
                words = '; '.join(' '.join(f'{value:g}' for value in box) for box in boxes)
                statistics.box_faults.setdefault(fault, []).append(f'{path}: {words} in {size[0]} x {size[1]} pixels')


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
    # Names of files may hold line ends, which would look like other lines.
    lines = [f'{what}: {len(found):,}', *(f'  {on_one_line(one)}' for one in found[:_SHOWN])]
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
