"""The base of all readers of data sets, and the description of a published set and its files."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from mmengine import fileio
from mmpretrain.datasets import BaseDataset

from ..errors import GLSimError

DOWNLOADS = 'downloads'
"""Folder below a data set's for its archives."""

# Phrases that several descriptions use.
NOT_STATED = 'No licence stated'
TORCHVISION = 'torchvision'
TENSORFLOW_DATASETS = 'TensorFlow Datasets'
WITH_BOXES = 'with `with_boxes=True`'

_ARCHIVE_SUFFIXES = ('.zip', '.tar', '.tar.gz', '.tgz', '.tar.bz2', '.tar.xz')


class FineGrainedDataset(BaseDataset):
    """One split of a data set, read from annotation files below one folder.

    Samples have ``img_path``, ``gt_label`` and, where the set has boxes, ``gt_bboxes`` (n, 4) float32
    ``x0, y0, x1, y1`` in pixels of the file's image. Metainfo has ``classes`` (names in order of the labels) and, where
    the set has a hierarchy, ``ancestors``: for each class the names of the groups that it belongs to, the coarsest
    first. In a config::

        train_dataloader = dict(dataset=dict(type='Food101Format', data_root='data/food-101', split='train'))

    Args:
        data_root: The folder.
        split: One of the class's ``SIZES``. Defaults to the first.
        metainfo: Takes the place of what the files say.
        **kwargs: Further arguments of mmpretrain's :class:`BaseDataset`.

    Raises:
        GLSimError: If the split is unknown or empty, the folder or a file is not there, or a file cannot be read or
            does not fit the others.
    """

    SIZES: ClassVar[Mapping[str, int | None]] = {}
    """Number of images of each official split, None where it is not published."""

    HINT: ClassVar[str] = ''
    """Further advice for the error about a missing folder."""

    def __init__(self, data_root: str, split: str | None = None, metainfo: dict | None = None, **kwargs) -> None:
        name, data_root = type(self).__name__, str(data_root)
        split = next(iter(self.SIZES)) if split is None else split
        if split not in self.SIZES:
            raise GLSimError(f'{name}: split must be one of {", ".join(self.SIZES)}, got {split!r}; correct the config')
        if not fileio.isdir(data_root):
            raise GLSimError(
                f'{name}: data folder {data_root} does not exist; set data_root of the data sets{self.HINT}'
            )
        self.split = split
        self.has_given_names = kwargs.get('classes') is not None or 'classes' in (metainfo or {})
        kwargs.setdefault('test_mode', split not in ('train', 'trainval'))
        found = self.read_metainfo(data_root)
        super().__init__('', metainfo={**found, **(metainfo or {})}, data_root=data_root, **kwargs)

    @abstractmethod
    def read_metainfo(self, data_root: str) -> dict:
        """Read ``classes`` and, if there is a hierarchy, ``ancestors`` from the set's files in a folder."""

    @abstractmethod
    def read_samples(self) -> list[dict]:
        """Read the samples of ``self.split`` in the order of the files, with ``img_path`` below the folder."""

    def load_data_list(self) -> list[dict]:
        """Samples with full paths; :meth:`full_init` calls it."""
        samples = self.read_samples()
        if not samples:
            raise GLSimError(f'{type(self).__name__}: no image of {self.data_root} belongs to the {self.split} split')
        for sample in samples:
            sample['img_path'] = fileio.join_path(self.data_root, sample['img_path'])
            if 'gt_bboxes' in sample:
                sample['gt_bboxes'] = np.asarray(sample['gt_bboxes'], np.float32).reshape(-1, 4)
        return samples

    def path(self, *parts: str) -> str:
        """A path below the data folder."""
        return fileio.join_path(self.data_root, *parts)

    def to_label(self, number: float, photo: str, path: str) -> int:
        """Convert a class number from 1, which the file at ``path`` gives a photo, to a label from 0."""
        if not 1 <= number <= len(self.CLASSES):
            raise GLSimError(f'{path} gives {photo} the class {int(number)}, but there are 1 to {len(self.CLASSES)}')
        return int(number) - 1

    def extra_repr(self) -> list[str]:
        """Lines for ``repr``."""
        return [f'Root of dataset: \t{self.data_root}', f'Split: \t{self.split}']


@dataclass(frozen=True)
class Source:
    """A published file: an archive, or a file that is used as it is.

    Where several layouts are read, alternatives in ``provides`` are separated by ``|``, the archive's own first. What
    is not published is None.
    """

    name: str
    provides: tuple[str, ...] = ()  # paths below the data set's folder; by default the file itself
    size: int | None = None  # in bytes
    checksum: str | None = None  # 'md5:...' or 'sha256:...'
    url: str | None = None  # None if it has to be fetched by hand
    optional: bool = False  # whether the data set is complete without it
    rename: Mapping[str, str] = field(default_factory=dict)  # files and folders at the archive's top, old to new name

    def __post_init__(self) -> None:
        object.__setattr__(self, 'provides', self.provides or (self.name,))

    @property
    def is_archive(self) -> bool:
        """Whether it has to be unpacked."""
        return self.name.lower().endswith(_ARCHIVE_SUFFIXES)

    def path(self, root: Path) -> Path:
        """Where the file is kept in a data set's folder: archives in ``downloads/``."""
        return root / DOWNLOADS / self.name if self.is_archive else root / self.paths[0]

    @property
    def paths(self) -> list[str]:
        """Provided paths of all layouts."""
        return [path for paths in self.provides for path in paths.split('|')]

    def missing(self, root: Path) -> list[str]:
        """Provided paths of which no alternative exists in a data set's folder."""
        return [paths for paths in self.provides if not any((root / path).exists() for path in paths.split('|'))]


@dataclass(frozen=True)
class PublishedSet:
    """Description of a published data set, which ``glsim prepare`` and the pages of the data sets show.

    Checksums and sizes are those that the set's authors publish, or else a library whose loader verifies them. What is
    nowhere published is None.
    """

    name: str  # as in the names of configs
    title: str
    reader: type[FineGrainedDataset]
    homepage: str
    licence: str  # the terms, as far as the authors state them; a sentence
    sources: tuple[Source, ...]
    files_at: str = ''  # URL of the folder with the files that have no URL of their own
    by_hand: str = ''  # how to get files without a URL
    checksums_from: str = ''  # who published the checksums
    sizes: Mapping[str, int | None] = field(default_factory=dict)  # images of each split; by default the reader's
    total: int | None = None  # number of images, where it is published but those of the splits are not
    boxes: str = 'none'  # a word or two
    hierarchy: str = 'none'  # which groups the classes belong to, a word or two
    notes: str = ''  # on the files

    def __post_init__(self) -> None:
        object.__setattr__(self, 'sizes', self.sizes or self.reader.SIZES)
        if self.files_at:
            sources = (replace(one, url=one.url or f'{self.files_at}/{one.name}') for one in self.sources)
            object.__setattr__(self, 'sources', tuple(sources))

    @property
    def splits(self) -> tuple[str, ...]:
        """Official splits that share no image."""
        return tuple(split for split in self.sizes if split != 'trainval' or 'train' not in self.sizes)

    @property
    def is_exact(self) -> bool:
        """Whether the lists must name :attr:`num_images` images, as the sizes of the splits are published."""
        return None not in self.sizes.values()

    @property
    def num_images(self) -> int | None:
        """Images of all splits together; None if that is not published."""
        return sum(self.sizes[split] or 0 for split in self.splits) if self.is_exact else self.total
