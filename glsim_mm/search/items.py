"""Which images to encode, and what is known of each: folders, lists, tables, glob patterns, data sets."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from retrieval.errors import RetrievalError
from retrieval.gallery.roots import Roots
from retrieval.records import Record, check_records
from retrieval.text_tables import decode_text, parse_typed_table, read_bytes

from ..images.decoding import LOGGER
from ..images.photo_folders import EXCLUDED, LeftOut, check_patterns, is_excluded
from ..images.photos import (
    ImageItem,
    UnreadableImageError,
    find_images,
    hash_content,
    is_address,
    join_written_path,
    read_content,
    to_text,
)
from ..progress import ProgressBar
from .encoded import EncodingError

if TYPE_CHECKING:
    from mmengine.config import Config

    from retrieval.gallery import GalleryReader

_HASHED_AHEAD = 4096
DATASET_NAMES = ('train', 'val', 'test')
ADDED = 'added-by-glsim'
"""Folder below a root for photos that come by themselves, as from a page; it is no class."""

_LISTS, _TABLES = ('.txt', '.lst'), ('.csv', '.tsv')


class ItemList(NamedTuple):
    """Images to encode, each file once, in order; and the roots below which their paths begin.

    ``sources`` are the absolute paths of the folders, or of the list or table, if nothing else was given; ``exclude``
    are the patterns of what was left out.
    """

    items: list[ImageItem]
    roots: Roots
    sources: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


def find_items(
    images: Any,
    root: str | Path | Roots | None = None,
    exclude: Sequence[str] = (),
    left_out: LeftOut | None = None,
    columns: Mapping[str, str] | None = None,
) -> ItemList:
    """Images of which a gallery is to be made; of a file that comes twice, the first entry counts.

    ::

        items, roots, *_ = find_items('photos.csv')
        print(len(items), items[0].path, items[0].label, items[0].metadata)

    Args:
        images: One of these, or a list of the first three:

            - a folder, searched recursively in order of paths; the sub-folder directly below it in which an image lies
              is its label
            - an image file, or a glob pattern such as ``'photos/**/*.jpg'``
            - an address of a photo, folder, pattern, list or table, such as ``s3://bucket/photos``, see
              :mod:`glsim_mm.images.remote_files`; paths of rows are addresses then
            - a list of files, ``.txt``: a path per line, relative to the list, and behind a tab a label if there is one
            - a table, ``.csv`` or ``.tsv``: a column ``path``, relative to the table, and any others; ``label`` and
              ``split`` are those of the gallery, all further ones its metadata, of numbers if all fields are, else text
            - a data set of mmengine (see :func:`load_dataset`): labels are names of classes
            - :class:`ImageItem` objects
        root: Folder to which paths in the gallery are relative, its default root, or all roots that it has. Defaults to
            the folder, that of the list or table, or the innermost that holds all images. Images outside get named
            roots: the folders that were given, or the innermost that holds the others.
        exclude: Patterns of files and folders to leave out, of those in lists, tables and data sets too, by their
            paths in the gallery; see :func:`~glsim_mm.images.photo_folders.check_patterns`.
        left_out: Takes what is left out. By default it goes to the log.
        columns: Those of the gallery that the images go to, with their types: a table's numbers in a column of text
            stay text.

    Raises:
        UserError: If there are no images, or a list or table cannot be read.
    """
    check_patterns(exclude)
    found = LeftOut() if left_out is None else left_out
    items, own_root = _expand(images, exclude, found, columns)
    known = root if isinstance(root, Roots) else Roots({} if root is None else {'': os.path.abspath(root)})
    if own_root != os.path.dirname(own_root) and not known.default:  # of the whole disk, paths would tell all
        known = Roots({**known.folders, '': own_root})
    roots = extend_roots(known, items, _folders(images))
    unique: dict[str, ImageItem] = {}
    for item in items:
        path = to_text(item.path) or path_below(roots, item.file)
        below = roots.split(path)[1]
        if not item.name and is_excluded(below, exclude):  # what has a name was looked for in a folder
            found.add(EXCLUDED, below)
            continue
        label = None if item.label is None else to_text(item.label)
        unique.setdefault(path, replace(item, path=path, label=label))
    if found and left_out is None:
        LOGGER.warning('left out: %s', found.summary())
    if not unique:
        raise RetrievalError('there are no images to encode: give at least one')
    return ItemList(list(unique.values()), roots.used(unique, known), _sources(images), tuple(exclude))


def place_items(items: Sequence[ImageItem], root: str | Path) -> ItemList:
    """Images that were found otherwise, with the paths that they have below a root, '' for none, or roots of their own.

    Their number and order stay.
    """
    roots = extend_roots(Roots({'': os.path.abspath(root)} if str(root) else {}), items)
    return ItemList([replace(item, path=item.path or path_below(roots, item.file)) for item in items], roots)


def is_source(path: str | Path) -> bool:
    """Whether a path is a folder, or by its name a list or table of photos."""
    return Path(path).is_dir() or Path(path).suffix.lower() in (*_LISTS, *_TABLES)


def folder_label(path: str) -> str | None:
    """What the path of an image below a folder says of its class: the name of the sub-folder in which it lies.

    :data:`ADDED` says nothing.
    """
    first, *rest = path.split('/', 1)
    return first if rest and first != ADDED else None


def has_folder_label(item: ImageItem) -> bool:
    """Whether an item was found in a folder, whose sub-folder is its label, rather than named by a list or a caller."""
    return bool(item.name) and item.label == folder_label(to_text(item.name))


def find_source(
    images: Any,
    dataset: str | None,
    cfg: Config | None,
    root: str | Path | Roots | None,
    exclude: Sequence[str] = (),
    left_out: LeftOut | None = None,
    columns: Mapping[str, str] | None = None,
) -> ItemList:
    """Images as :func:`find_items` takes them, or those of the data set of a config; one of the two must be given."""
    if (images is None) == (dataset is None):
        raise RetrievalError('give either images or the name of a data set of the config')
    if dataset is None:
        return find_items(images, root, exclude, left_out, columns)
    loaded = load_dataset(cfg, dataset)
    found = find_items(loaded, root, exclude, left_out)
    return found._replace(items=[replace(item, split=dataset) for item in found.items])


def check_items(items: Sequence[ImageItem], gallery: GalleryReader | None = None) -> None:
    """Refuse labels and metadata that a gallery, None for a new one, cannot hold, before images are encoded.

    Raises:
        RetrievalError: If one cannot be held.
    """
    records = [Record(label=item.label, split=item.split, metadata=item.metadata) for item in items]
    columns = {} if gallery is None else gallery.columns()
    check_records(records, np.arange(len(records)), columns, None if gallery is None else gallery.ids)


def path_below(roots: Roots, file: str) -> str:
    """Path of a file as a gallery stores it, as text (:func:`~glsim_mm.images.photos.to_text`); '' for no file."""
    return to_text(roots.path(file)) if file else ''


def extend_roots(roots: Roots, items: Sequence[ImageItem], folders: Iterable[str] = ()) -> Roots:
    """Roots with new ones for images that lie below none, so that no path is absolute.

    They are those of some ``folders`` in which such images lie, and for the rest the innermost folder that holds all,
    or, where this is the whole disk, the folder of each.
    """
    files = (os.path.abspath(one.file) for one in items if one.file and not one.path and not is_address(one.file))
    outside = [folder for folder in dict.fromkeys(map(os.path.dirname, files)) if not roots.holds(folder)]
    for folder in sorted(folders, key=len):
        if any(f'{one}{os.sep}'.startswith(f'{folder.rstrip(os.sep)}{os.sep}') for one in outside):
            roots = roots.with_folder(folder)
            outside = [one for one in outside if not roots.holds(one)]
    common = _common(outside)
    for folder in [common] if common and common != os.path.dirname(common) else outside:
        roots = roots if roots.holds(folder) else roots.with_folder(folder)
    return roots


def common_folder(items: Sequence[ImageItem]) -> str:
    """The innermost folder that holds the files of all items, absolute; empty if there is none."""
    files = (item.file for item in items if item.file and not is_address(item.file))
    return _common({os.path.dirname(os.path.abspath(file)) for file in files})


def _common(folders: Collection[str]) -> str:
    try:
        return os.path.commonpath(folders) if folders else ''
    except ValueError:  # several drives
        return ''


def load_dataset(cfg: Config, name: str) -> Any:
    """The data set ``'train'``, ``'val'`` or ``'test'`` of a config, for its images and labels.

    Raises:
        UserError: If the config has none of that name, or it cannot be built.
    """
    from mmengine.registry import DefaultScope  # this and the next three need torch, which all other images do without
    from mmpretrain.registry import DATASETS

    from ..apis.config_errors import explain_config_errors
    from ..datasets.class_mapping import map_classes

    if name not in DATASET_NAMES:
        raise RetrievalError(f'the data set must be one of {", ".join(DATASET_NAMES)}, got {name!r}')
    settings = (cfg.get(f'{name}_dataloader') or {}).get('dataset')
    if settings is None:
        there = [other for other in DATASET_NAMES if cfg.get(f'{other}_dataloader')]
        choice = ', '.join(there) or 'another config'
        raise RetrievalError(f'the config has no {name}_dataloader: choose one of {choice}')
    scope = cfg.get('default_scope') or 'mmpretrain'
    with explain_config_errors(), DefaultScope.overwrite_default_scope(scope):
        try:
            dataset = DATASETS.build(settings)
        except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
            raise RetrievalError(
                f'the data is not there: {error.filename or error}; set data_root of the data set, or prepare the data'
            ) from error
    metainfo = getattr(dataset, 'metainfo', None) or {}
    if metainfo.get('classes'):  # folders, and the parts of a wrapper, may be numbered otherwise
        map_classes(dataset, metainfo, name, 'the first data set', allow_missing=True)
    return dataset


def dataset_items(dataset: Any, split: str | None = None) -> list[ImageItem]:
    """Images of a data set of mmengine in order, labelled by :func:`class_name`; the split is the data set's own unless
    it is given.
    """
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    own = getattr(dataset, 'split', None)
    split = split or (own if isinstance(own, str) and own else None)
    items = []
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        items.append(ImageItem(str(info['img_path']), label=class_name(info.get('gt_label'), classes), split=split))
    return items


def class_name(label: Any, classes: Sequence[str] | None) -> str | None:
    """Name of a class, given by its number, alone or in an array or list of one; the number where there are no names.

    None without a label, or with several.
    """
    numbers = np.asarray([] if label is None else label).reshape(-1)
    if len(numbers) != 1:
        return None
    number = int(numbers[0])
    return to_text(str(classes[number])) if classes is not None and 0 <= number < len(classes) else str(number)


def hash_items(
    items: Sequence[ImageItem], positions: Sequence[int], num_threads: int, progress: ProgressBar
) -> tuple[dict[int, str], list[EncodingError]]:
    """Content hashes of some items by position, which tell without the model what was encoded, and unreadable files."""

    def hash_one(position: int) -> tuple[int, str, str]:
        try:
            return position, hash_content(read_content(items[position].file)), ''
        except UnreadableImageError as error:
            return position, '', str(error)

    hashes, errors = {}, []
    with ThreadPoolExecutor(max(1, num_threads)) as pool:
        for start in range(0, len(positions), _HASHED_AHEAD):  # a thread pool would take all positions at once
            for position, content_hash, error in pool.map(hash_one, positions[start : start + _HASHED_AHEAD]):
                if error:
                    errors.append(EncodingError(position, items[position].path, error))
                else:
                    hashes[position] = content_hash
                progress.advance()
    return hashes, errors


def _expand(
    images: Any, exclude: Sequence[str], left_out: LeftOut, columns: Mapping[str, str] | None
) -> tuple[list[ImageItem], str]:
    """Items with files as they were found, and the folder to which they are relative."""
    if isinstance(images, (str, Path)):
        path = Path(images)
        kind = '' if path.is_dir() else path.suffix.lower()
        if kind in _LISTS or kind in _TABLES:
            items = list(_read_list(str(images))) if kind in _LISTS else _read_table(str(images), columns)
            return items, '' if is_address(str(images)) else os.path.abspath(path.parent)
        items = list(_files(images, exclude, left_out))
        return items, os.path.abspath(path) if path.is_dir() else common_folder(items)
    if hasattr(images, 'get_data_info'):
        from ..datasets.class_mapping import leaf_datasets

        for leaf in leaf_datasets(images):
            left_out.update(getattr(leaf, 'left_out', None) or LeftOut())
        items = dataset_items(images)
        return items, _dataset_root(images, items)
    if not isinstance(images, Iterable) or isinstance(images, np.ndarray):
        raise RetrievalError(
            f'images are a folder, files, a data set or a data loader, not {type(images).__name__}; for arrays use a '
            'data loader'
        )
    items = [item for one in images for item in _files(one, exclude, left_out)]
    return items, common_folder(items)


def _files(one: Any, exclude: Sequence[str], left_out: LeftOut) -> Iterator[ImageItem]:
    if isinstance(one, ImageItem):
        yield one
        return
    if not isinstance(one, (str, Path)):
        raise RetrievalError(f'images are paths, not {type(one).__name__}; for arrays use a data loader')
    is_folder = not glob.has_magic(str(one)) if is_address(str(one)) else Path(one).is_dir()
    for item in find_images(one, exclude, left_out):
        yield replace(item, path='', label=folder_label(item.name) if is_folder else None)


def _sources(images: Any) -> tuple[str, ...]:
    if isinstance(images, (str, Path)):
        return (os.path.abspath(images),) if is_source(images) and not is_address(str(images)) else ()
    given = images if isinstance(images, (list, tuple)) else ()
    are_folders = all(isinstance(one, (str, Path)) and Path(one).is_dir() for one in given)
    return tuple(map(os.path.abspath, given)) if are_folders else ()


def _folders(images: Any) -> list[str]:
    """The folders among what was given, absolute."""
    given = images if isinstance(images, (list, tuple)) else [images]
    return [os.path.abspath(one) for one in given if isinstance(one, (str, Path)) and os.path.isdir(one)]


def _read_list(path: str) -> Iterator[ImageItem]:
    for line in decode_text(_read_text(path), path).split('\n'):
        name, _, label = line.partition('\t')
        if name.strip():
            yield ImageItem(_beside(path, name.strip()), label=label.strip() or None)


def _read_table(path: str, known: Mapping[str, str] | None) -> list[ImageItem]:
    own = ('path', 'label', 'split')
    columns, rows = parse_typed_table(_read_text(path), path, own, known)
    if 'path' not in columns:
        raise RetrievalError(f'{path} has no column "path", but {", ".join(columns) or "nothing"}: name its columns')
    return [
        ImageItem(
            _beside(path, str(row['path'])),
            label=row.get('label'),
            split=row.get('split'),
            metadata={name: value for name, value in row.items() if name not in own},
        )
        for _, row in rows
        if row['path']
    ]


def _read_text(path: str) -> bytes:
    """A list or table, by its path or address."""
    if not is_address(path):
        return read_bytes(Path(path))
    try:
        return read_content(path)
    except UnreadableImageError as error:
        raise RetrievalError(f'{path} cannot be read ({error}); check the address') from error


def _beside(path: str, name: str) -> str:
    return join_written_path(path.rpartition('/')[0] if is_address(path) else str(Path(path).parent), name)


def _dataset_root(dataset: Any, items: Sequence[ImageItem]) -> str:
    root = getattr(dataset, 'data_root', None)
    if not isinstance(root, str) or not root or is_address(root):
        return common_folder(items)
    folder = os.path.abspath(root)
    is_inside = all(Path(os.path.abspath(item.file)).is_relative_to(folder) for item in items)
    return folder if is_inside else common_folder(items)
