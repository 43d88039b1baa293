"""Photos in one folder per class."""

from collections.abc import Sequence

from mmengine import fileio
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS

from ..errors import GLSimError
from ..images.photo_folders import OUTSIDE, PHOTO_SUFFIXES, LeftOut, PhotoList, check_patterns, list_photos, sort_files
from ..images.photos import is_address


@DATASETS.register_module()
class FolderDataset(CustomDataset):
    """Photos in one folder per class, found as all tools find them; in all else mmpretrain's :class:`CustomDataset`.

    ``CustomDataset`` itself leaves out ``.webp``, ``.tiff``, ``.gif`` and others without a word, and takes
    ``.ipynb_checkpoints`` and ``@eaDir`` for classes. In a config::

        train_dataloader = dict(dataset=dict(type='FolderDataset', data_root='data/my_birds', data_prefix='train'))

    Given ``classes`` that name all folders number them in their order, and may name some that have no folder. Otherwise
    there must be as many as folders, and they are the names of the folders in alphabetical order.

    Attributes:
        left_out: What lies in the folder beside the photos.

    Args:
        data_root: Folder that contains ``data_prefix``, below which there is one folder of photos per class.
        exclude: Patterns of files and folders to leave out, such as ``('*_mask.png', 'drafts')``; see
            :func:`~glsim_mm.images.photo_folders.check_patterns`.
        **kwargs: Further arguments of ``CustomDataset``; ``extensions`` chooses other endings.

    Raises:
        GLSimError: If there is no photo, or another number of folders than of classes.
    """

    def __init__(self, data_root: str = '', exclude: str | Sequence[str] = (), **kwargs) -> None:
        self.exclude = (exclude,) if isinstance(exclude, str) else tuple(exclude)
        check_patterns(self.exclude)
        self.left_out = LeftOut()
        kwargs.setdefault('extensions', PHOTO_SUFFIXES)
        super().__init__(data_root, **kwargs)

    def _find_samples(self) -> list:
        found = self._list()
        self.left_out = found.left_out
        samples: list = found.files
        if self.with_label:
            self.folder_to_idx = self._number(found.folders)
            outside = [file for file in found.files if '/' not in file]
            if outside:
                found.left_out.add(OUTSIDE, *outside)
            samples = [(file, self.folder_to_idx[file.split('/')[0]]) for file in found.files if '/' in file]
        if not samples:
            besides = f'; left out: {found.left_out.summary()}' if found.left_out else ''
            what = 'folder of photos for each class' if self.with_label else 'photo'
            raise GLSimError(
                f'the data set has no images: there is no {what} in {self.img_prefix}; photos end in '
                f'{", ".join(sorted(self.extensions))}{besides}'
            )
        return samples

    def _list(self) -> PhotoList:
        if not is_address(self.img_prefix):
            return list_photos(self.img_prefix, self.exclude, self.extensions)
        files = fileio.list_dir_or_file(self.img_prefix, list_dir=False, recursive=True)
        return sort_files(files, self.exclude, self.extensions)

    def _number(self, folders: Sequence[str]) -> dict[str, int]:
        """Label of each folder."""
        names = self.CLASSES
        if names is None:
            self._metainfo['classes'] = names = tuple(folders)
        if set(folders) <= set(names):
            return {name: label for label, name in enumerate(names) if name in folders}
        if len(names) != len(folders):
            odd = next(name for name in folders if name not in names)
            raise GLSimError(
                f'{self.img_prefix} has {len(folders)} folders, such as {odd!r}, for {len(names)} given classes; name '
                'the classes like the folders, or leave classes out'
            )
        return {name: label for label, name in enumerate(folders)}
