"""One numbering of the classes: the training split or the checkpoint names them, other splits are mapped by name."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset

from ..errors import GLSimError
from ..images.photo_folders import is_junk


def map_classes(
    dataset: Any, metainfo: Mapping[str, Any], split: str, source: str, allow_missing: bool = False
) -> list[str]:
    """Number the labels of a data set, or of those inside a wrapper, as ``metainfo['classes']`` does, in place.

    Data sets without class names stay as they are. ::

        map_classes(val_set, train_set.metainfo, 'val', 'the train split')

    Args:
        metainfo: That of the training split or the checkpoint, with ``classes`` and, if there are any, ``ancestors``.
        split: For messages, ``'val'`` for example.
        source: Who names the classes, for messages.
        allow_missing: Accept a split that lacks some of the classes.

    Returns:
        The places of the data sets whose labels were renumbered.

    Raises:
        GLSimError: If there are photos of an unknown class, a class is missing, or two have the same name.
    """
    names = tuple(map(str, metainfo['classes']))
    leaves = list(leaf_datasets(dataset))
    own_names = [label_names(leaf, split) for leaf in leaves]
    missing = find_missing(dataset, names, split)
    for leaf, own in zip(leaves, own_names):
        if own is not None and own != names:
            _check_known(leaf, own, names, missing, split, source)
    if missing and not allow_missing:
        lacking = f'{place_of(leaves[0], split)} lacks {quote_classes(missing)} of {source}'
        raise GLSimError(f'{lacking}; add photos of it, or accept that with --allow-missing-classes')
    renumbered = []
    for leaf, own in zip(leaves, own_names):
        if own is not None and own != names:
            _renumber(leaf, own, metainfo, split)
            renumbered.append(place_of(leaf, split))
    if renumbered:
        _set_metainfo(dataset, names, leaves[0])
    return renumbered


def find_missing(dataset: Any, names: Sequence[str], split: str = '') -> list[str]:
    """Which classes a data set, or those inside a wrapper, do not name; none if one of them names no classes."""
    found = {name for leaf in leaf_datasets(dataset) for name in label_names(leaf, split) or names}
    return [name for name in names if name not in found]


def check_folders(training: Any, dataset: Any, split: str) -> None:
    """Refuse other folders than those of the training split where given ``classes`` name folders by their place alone.

    Raises:
        GLSimError: If mmpretrain's ``CustomDataset`` gives the same name to different folders.
    """
    known = {folder for leaf in leaf_datasets(training) for folder in getattr(leaf, 'folder_to_idx', None) or ()}
    for leaf in leaf_datasets(dataset):
        folders = getattr(leaf, 'folder_to_idx', None) or {}
        odd = [folder for folder in folders if folder not in known]
        if known and odd and not set(folders) <= set(leaf.metainfo.get('classes') or folders):
            raise GLSimError(
                f'{place_of(leaf, split)} has the folder {odd[0]!r}, which {place_of(training, "train")} does not '
                'have; where classes are given, folders must be the same'
            )


def leaf_datasets(dataset: object) -> Iterator[Any]:
    """Data sets inside wrappers such as ``ConcatDataset``, ``RepeatDataset`` and ``torch.utils.data.Subset``."""
    children = _inside(dataset)
    if not children:
        yield dataset
    for child in children:
        yield from leaf_datasets(child)


def label_names(dataset: Any, split: str = '') -> tuple[str, ...] | None:
    """Name of each label of a data set, None if it has no class names.

    mmpretrain's ``CustomDataset`` numbers folders in the order of their names, whatever the order of given ``classes``.

    Raises:
        GLSimError: If a hidden or system folder would be a class.
    """
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    if classes is None:
        return None
    folders: Mapping[str, int] = getattr(dataset, 'folder_to_idx', None) or {}
    junk = [name for name in folders if is_junk(name)]
    if junk:
        raise GLSimError(
            f'{place_of(dataset, split)} has the hidden or system folder {junk[0]}, which would count as a class; '
            "remove it, or use type='FolderDataset', which leaves it out"
        )
    names = tuple(map(str, classes))
    return tuple(sorted(folders, key=folders.__getitem__)) if set(folders) == set(names) else names


def place_of(dataset: Any, split: str = '') -> str:
    """A data set in words, for messages: its split, and the file or folder that it is read from."""
    prefix = getattr(dataset, 'data_prefix', None)
    folder = prefix.get('img_path') if isinstance(prefix, Mapping) else None
    paths = (getattr(dataset, 'table', ''), getattr(dataset, 'ann_file', ''), folder, getattr(dataset, 'data_root', ''))
    where = str(next((path for path in paths if path), '')).rstrip('/')
    what = f'the {split} split' if split else f'the data set {type(dataset).__name__}'
    return what + (f' in {where}' if where else '')


def quote_classes(names: Sequence[str]) -> str:
    """Names of classes for a message: the first, and how many more there are."""
    more = f' and {len(names) - 1} more' if len(names) > 1 else ''
    return f'the class {names[0]!r}{more}'


def _inside(dataset: object) -> Sequence[object]:
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    return () if inner[0] is None else inner


def _check_known(
    dataset: Any, own: Sequence[str], names: Sequence[str], missing: Sequence[str], split: str, source: str
) -> None:
    """Raise :class:`GLSimError` unless each label that occurs has a name that is known and clear."""
    place = place_of(dataset, split)
    for listed, where in ((own, place), (names, source)):
        twice = [name for name, count in Counter(listed).items() if count > 1]
        if twice:
            raise GLSimError(f'{where} has two classes named {twice[0]!r}; give each class its own name')
    if not isinstance(dataset, BaseDataset):
        raise GLSimError(f'{place} has not the classes of {source}; use a data set of mmengine, or the same classes')
    counts = Counter(label for index in range(len(dataset)) for label in _labels(dataset.get_data_info(index)))
    outside = [label for label in counts if not 0 <= label < len(own)]
    if outside:
        raise GLSimError(f'{place} has the label {outside[0]}, but {len(own)} classes from 0; correct the labels')
    unknown = [own[label] for label in sorted(counts) if own[label] not in names]
    if unknown:
        alike = [name for name in names if name.strip().casefold() == unknown[0].strip().casefold()]
        hint = (
            f' (did you mean {alike[0]!r}?)'
            if alike
            else f' (the split lacks {quote_classes(missing)})'
            if missing
            else ''
        )
        raise GLSimError(
            f'{place} has {counts[own.index(unknown[0])]} photos of {quote_classes(unknown)}, which {source} does not '
            f'have{hint}; give it the same name there and here, or take it out'
        )


def _labels(sample: Mapping[str, Any]) -> list[int]:
    return [int(label) for label in np.atleast_1d(sample.get('gt_label', ()))]


def _renumber(dataset: BaseDataset, own: Sequence[str], metainfo: Mapping[str, Any], split: str) -> None:
    names = tuple(map(str, metainfo['classes']))
    label_of = {name: label for label, name in enumerate(names)}
    samples = []
    for index in range(len(dataset)):
        sample = dataset.get_data_info(index)
        sample.pop('sample_idx', None)  # mmengine adds it on reading
        if 'gt_label' in sample:
            labels = [label_of[own[label]] for label in _labels(sample)]
            sample['gt_label'] = labels[0] if np.ndim(sample['gt_label']) == 0 else labels
        samples.append(sample)
    dataset.data_list = samples
    if dataset.serialize_data:
        dataset.data_bytes, dataset.data_address = dataset._serialize_data()
    if hasattr(dataset, 'folder_to_idx'):
        dataset.folder_to_idx = label_of
    own_metainfo = dataset._metainfo
    if 'ancestors' in own_metainfo:
        groups = dict(zip(names, metainfo.get('ancestors') or ()))
        groups.update(zip(map(str, own_metainfo['classes']), own_metainfo['ancestors']))
        own_metainfo['ancestors'] = tuple(groups.get(name, ()) for name in names)
    own_metainfo['classes'] = names


def _set_metainfo(dataset: object, names: tuple[str, ...], first: Any) -> None:
    """Give wrappers, which keep a copy, the metainfo of their first data set."""
    children = _inside(dataset)
    for child in children:
        _set_metainfo(child, names, first)
    metainfo = getattr(dataset, '_metainfo', None)
    if children and isinstance(metainfo, dict) and 'classes' in metainfo:
        metainfo['classes'] = names
        if 'ancestors' in metainfo:
            metainfo['ancestors'] = first.metainfo.get('ancestors', ())
