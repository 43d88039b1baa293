"""What is likely wrong with the photos, classes and boxes of a data set, and a line about it before a training."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import GLSimError
from ..images.image_files import FileFacts, count_shared, examine_files
from ..images.photo_folders import LeftOut, is_junk
from .class_mapping import leaf_datasets, place_of

FRACTIONS = 'boxes that are fractions of their photo, not pixels'
AS_STORED = 'boxes that fit their photo only as it is stored, before EXIF turns it'
OUTSIDE = 'boxes that hold nothing of their photo'
BEYOND = 'boxes that reach beyond their photo'
HIDDEN_PHOTOS = 'photos in hidden or system folders'
_TOLERANCE = 0.01  # of a side, beyond which a box reaches; and a pixel for rounding

_LOOKED_AT = 256  # photos whose headers are read before a training
_COMPARED = 20_000  # photos of equal size that are compared before a training


def left_out_of(dataset: Any) -> LeftOut:
    """What data sets of folders, inside wrappers too, have left out."""
    found = LeftOut()
    for leaf in leaf_datasets(dataset):
        found.update(getattr(leaf, 'left_out', None) or LeftOut())
    return found


def are_fractions(boxes: np.ndarray) -> bool:
    """Whether boxes (n, 4) cannot be pixels, because no corner is further than 1 from the origin."""
    return boxes.size > 0 and bool((np.abs(boxes) <= 1).all())


def find_box_fault(boxes: np.ndarray, facts: FileFacts) -> str | None:
    """What is wrong with boxes (n, 4) ``x0, y0, x1, y1`` of a photo, None if they fit the upright photo."""
    if are_fractions(boxes):
        return FRACTIONS
    is_lying = facts.size == facts.stored_size[::-1] != facts.stored_size
    if _fits(boxes, facts.size):
        return None
    if is_lying and _fits(boxes, facts.stored_size):
        return AS_STORED
    width, height = facts.size
    x0, y0, x1, y1 = boxes.T
    is_outside = (x0 >= width) | (y0 >= height) | (x1 <= 0) | (y1 <= 0)
    return OUTSIDE if is_outside.any() else BEYOND


def find_junk(paths: Sequence[str]) -> list[str]:
    """Photos in hidden or system folders, or hidden themselves, below the folder that holds all of them.

    :class:`FolderDataset` takes none; lists, tables and mmpretrain's ``CustomDataset`` may.
    """
    try:
        start = len(os.path.commonpath({os.path.dirname(path) for path in paths})) if paths else 0
    except ValueError:  # absolute and relative paths, or several drives: nothing holds all of them
        start = 0
        paths = [path for path in paths if not os.path.isabs(path)]
    return [path for path in paths if any(map(is_junk, filter(None, path[start:].split('/'))))]


def describe_classes(names: Sequence[str], counts: np.ndarray) -> list[tuple[str, list[str]]]:
    """Classes that cannot be learnt, with what they are: those of no and of one photo."""
    kinds = (('classes without an image', 0), ('classes of one image', 1))
    return [(what, [names[label] for label in np.flatnonzero(counts == number).tolist()]) for what, number in kinds]


def check_two_classes(dataset: Any) -> None:
    """Refuse to train a classifier on one class.

    Raises:
        GLSimError: If all photos have one label.
    """
    labels = set()
    for index in range(len(dataset)) if hasattr(dataset, 'get_data_info') else ():
        labels.update(np.atleast_1d(dataset.get_data_info(index).get('gt_label', ())).tolist())
        if len(labels) > 1:
            return
    if labels:
        (label,) = labels
        names = (getattr(dataset, 'metainfo', None) or {}).get('classes') or ()
        what = repr(names[label]) if 0 <= label < len(names) else f'number {label}'
        raise GLSimError(
            f'{place_of(next(leaf_datasets(dataset)), "train")} has photos of one class only, {what}; a classifier '
            'learns nothing from them, and would be right in 100 % of them; add photos of another class'
        )


def summarise_faults(dataset: Any, others: Mapping[str, Any], names: Sequence[str]) -> str:
    """What is wrong with the data of a training, as far as seconds can tell, in one line; empty if nothing.

    No photo is decoded. Boxes are compared with the headers of some photos, and photos of two splits only if their
    files are of one size.

    Args:
        dataset: The training split.
        others: Other splits by name.
        names: Of the classes, by label.
    """
    listing = _list_samples(dataset)
    counts = np.bincount(np.array(listing.labels, np.int64), minlength=len(names))
    parts = [
        f'{what}: {len(found):,} ({found[0]}{", ..." if len(found) > 1 else ""})'
        for what, found in describe_classes(names, counts)
        if found
    ]
    parts += _summarise_boxes(listing.boxes)
    junk = find_junk(listing.paths)
    parts += [f'{HIDDEN_PHOTOS}: {len(junk):,} ({junk[0]}{", ..." if len(junk) > 1 else ""})'] if junk else []
    for split, other in others.items():
        shared, is_all = count_shared(listing.paths, _list_samples(other).paths, _COMPARED)
        if shared:
            parts.append(f'photos that {split} has too: {"" if is_all else "at least "}{shared:,}')
    for split, one in [('train', dataset), *others.items()]:
        left_out = left_out_of(one)
        if left_out:
            parts.append(f'left out of {split}: {left_out.summary()}')
    return '; '.join(parts)


class _Listing(NamedTuple):
    """Labels and paths of all samples, and boxes of those that have any, with their paths."""

    labels: list[int]
    paths: list[str]
    boxes: list[tuple[str, np.ndarray]]


def _list_samples(dataset: Any) -> _Listing:
    listing = _Listing([], [], [])
    for index in range(len(dataset)) if hasattr(dataset, 'get_data_info') else ():
        sample = dataset.get_data_info(index)
        listing.labels.extend(np.atleast_1d(sample.get('gt_label', ())).tolist())
        path = str(sample.get('img_path', ''))
        if path:
            listing.paths.append(path)
            if len(sample.get('gt_bboxes', ())):
                listing.boxes.append((path, np.asarray(sample['gt_bboxes'])))
    return listing


def _summarise_boxes(boxes: Sequence[tuple[str, np.ndarray]]) -> list[str]:
    some = boxes[:: max(1, -(-len(boxes) // _LOOKED_AT))]
    faults: Counter[str] = Counter()
    for (_, corners), facts in zip(some, examine_files([path for path, _ in some])):
        fault = find_box_fault(corners, facts) if isinstance(facts, FileFacts) else None
        faults.update([fault] if fault else [])
    return [f'{fault}: in {count:,} of {len(some):,} photos looked at' for fault, count in faults.items()]


def _fits(boxes: np.ndarray, size: tuple[int, int]) -> bool:
    limits = np.array([*size, *size]) * (1 + _TOLERANCE) + 1
    return bool((boxes <= limits).all() and (boxes >= -_TOLERANCE * np.array([*size, *size]) - 1).all())
