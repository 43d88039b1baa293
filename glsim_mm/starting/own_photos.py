"""Photos of one's own with the class, and where it is known the split, of each: from folders, or from a table."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from retrieval.gallery.roots import Roots

from ..errors import GLSimError, name_some
from ..images.photo_folders import OUTSIDE, LeftOut
from ..images.photos import ImageItem
from ..search.items import find_items, path_below

TRAIN, VAL, TEST = 'train', 'val', 'test'
SPLITS: Mapping[str, str] = {
    **dict.fromkeys(('train', 'training', 'trn'), TRAIN),
    **dict.fromkeys(('val', 'valid', 'validation', 'dev'), VAL),
    **dict.fromkeys(('test', 'testing', 'tst'), TEST),
}
"""Names that folders and tables have for splits, in small letters."""

_NO_LABEL, _NO_SPLIT = 'without a label', 'without a split'


@dataclass
class OwnPhotos:
    """Photos of two classes or more.

    Attributes:
        root: The folder to which paths are relative, absolute.
        items: Each with its file, path below the root, label, what a table says besides, and ``split`` (``'train'``,
            ``'val'``, ``'test'``), which is None in all of them where no split is given.
        left_out: What else was found.
        is_table: Whether they come from a table or list, not from folders.
    """

    root: str
    items: list[ImageItem]
    left_out: LeftOut = field(default_factory=LeftOut)
    is_table: bool = False

    @property
    def is_split(self) -> bool:
        """Whether the photos come with a split."""
        return self.items[0].split is not None


def read_own_photos(path: str | Path, exclude: Sequence[str] = (), take_split: bool = True) -> OwnPhotos:
    """Look for photos and their classes.

    Args:
        path: A folder with a folder for each class, also one level further down, where it is the only one; a folder
            with ``train``, ``val`` and ``test``, or some of them, each with a folder for each class; or a table with
            the columns ``path``, ``label`` and, if they are known, ``split``, ``box`` and observations (see
            :func:`glsim_mm.search.find_items`).
        exclude: Patterns of files and folders to leave out.
        take_split: False to pass over the split that the photos come with.

    Raises:
        UserError: If nothing is there, there are not two classes, or a table has no labels or another split.
    """
    left_out = LeftOut()
    found = find_items(path, exclude=exclude, left_out=left_out)
    root = found.roots.default
    if not Path(path).is_dir():
        only = Roots({'': root})  # photos elsewhere have absolute paths, as data sets read them
        items = [replace(item, path=path_below(only, item.file)) for item in found.items]
        photos = OwnPhotos(root, _of_table(path, items, left_out), left_out, is_table=True)
    else:
        photos = _of_folder(str(path), root, found.items, exclude, left_out)
    if not take_split:
        photos.items = [replace(item, split=None) for item in photos.items]
    classes = sorted({str(item.label) for item in photos.items})
    if len(classes) < 2:
        besides = f'; left out: {left_out.summary()}' if left_out else ''
        raise GLSimError(
            f'{path} has photos of {f"one class only, {classes[0]!r}" if classes else "no class"}; a classifier needs '
            f'two or more: a folder of photos for each class, or a table with the columns path and label{besides}'
        )
    return photos


def _of_folder(
    path: str, root: str, items: Sequence[ImageItem], exclude: Sequence[str], left_out: LeftOut
) -> OwnPhotos:
    if Path(path, 'train_test_split.txt').is_file() and Path(path, 'images').is_dir():
        raise GLSimError(
            f"{path} has CUB's file layout, whose split a config with CUBFormat reads (glsim_vit_cub); to split its "
            f'photos anew, give {os.path.join(path, "images")}'
        )
    parts = [item.path.split('/') for item in items]
    tops = {part[0] for part in parts if len(part) > 1}
    if {SPLITS.get(top.lower()) for top in tops} >= {TRAIN} and all(top.lower() in SPLITS for top in tops):
        labelled = [
            replace(item, label=p[1], split=SPLITS[p[0].lower()]) for item, p in zip(items, parts) if len(p) > 2
        ]
        _leave_out(left_out, OUTSIDE, [item for item, part in zip(items, parts) if len(part) <= 2])
        return OwnPhotos(root, labelled, left_out)
    if len(tops) == 1 and len({part[1] for part in parts if len(part) > 2}) > 1:
        (top,) = tops
        _leave_out(left_out, OUTSIDE, [item for item, part in zip(items, parts) if len(part) == 1])
        below = [replace(item, path=item.path.removeprefix(f'{top}/')) for item, p in zip(items, parts) if len(p) > 1]
        inner = os.path.join(root, top)
        return _of_folder(inner, inner, below, exclude, left_out)
    labelled = [replace(item, label=part[0], split=None) for item, part in zip(items, parts) if len(part) > 1]
    _leave_out(left_out, OUTSIDE, [item for item, part in zip(items, parts) if len(part) == 1])
    return OwnPhotos(root, labelled, left_out)


def _of_table(path: str | Path, items: Sequence[ImageItem], left_out: LeftOut) -> list[ImageItem]:
    if all(item.label is None for item in items):
        raise GLSimError(f'{path} has no labels; name the column with the classes label')
    wrong = sorted({item.split for item in items if item.split and item.split.strip().lower() not in SPLITS})
    if wrong:
        raise GLSimError(
            f'{path} has the split {name_some([repr(one) for one in wrong])}, which is none of train, val and test; '
            'rename it, or split anew with --new-split'
        )
    _leave_out(left_out, _NO_LABEL, [item for item in items if item.label is None])
    labelled = [item for item in items if item.label is not None]
    if all(item.split is None for item in labelled):
        return labelled
    _leave_out(left_out, _NO_SPLIT, [item for item in labelled if not item.split])
    return [replace(item, split=SPLITS[item.split.strip().lower()]) for item in labelled if item.split]


def _leave_out(left_out: LeftOut, reason: str, items: Sequence[ImageItem]) -> None:
    if items:
        left_out.add(reason, *(item.path for item in items))
