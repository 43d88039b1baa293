"""Stanford Dogs, with boxes."""

from mmengine import fileio
from mmpretrain.registry import DATASETS

from ..errors import GLSimError
from .annotation_files import read_mat, read_mat_fields, read_voc_boxes
from .fine_grained import FineGrainedDataset


@DATASETS.register_module()
class StanfordDogs(FineGrainedDataset):
    """Stanford Dogs (Khosla et al., 2011; http://vision.stanford.edu/aditya86/ImageNetDogs): 120 breeds.

    The folder holds ``Images/`` (``n02085620-Chihuahua/n02085620_10074.jpg``), ``train_list.mat``, ``test_list.mat``
    (there or in ``lists/``) and, for boxes, ``Annotation/``. A photo may have several boxes.

    Args:
        data_root: The folder.
        split: ``'train'`` or ``'test'``. Defaults to ``'train'``.
        with_boxes: Read the boxes, one small file per photo.
        **kwargs: See :class:`FineGrainedDataset`.

    Raises:
        GLSimError: If a file is not there or cannot be read.
    """

    SIZES = dict(train=12000, test=8580)

    def __init__(self, data_root: str, split: str | None = None, with_boxes: bool = False, **kwargs) -> None:
        self.with_boxes = with_boxes
        super().__init__(data_root, split, **kwargs)

    def read_metainfo(self, data_root: str) -> dict:
        """Breeds, from the folders' names; see the base class."""
        folders = {path.split('/')[0]: label for path, label in zip(*_read_list(data_root, 'train'))}
        ordered = sorted(folders, key=folders.__getitem__)
        return dict(classes=tuple(folder.split('-', 1)[-1].replace('_', ' ') for folder in ordered))

    def read_samples(self) -> list[dict]:
        """Photos of the split; see the base class."""
        samples = []
        for path, label in zip(*_read_list(self.data_root, self.split)):
            sample = dict(img_path=f'Images/{path}', gt_label=int(label) - 1)
            if self.with_boxes:
                sample['gt_bboxes'] = read_voc_boxes(self.path('Annotation', path.rsplit('.', 1)[0]))
            samples.append(sample)
        return samples


def _read_list(data_root: str, split: str) -> tuple[list[str], list[int]]:
    """Paths below ``Images/`` and labels counted from 1."""
    candidates = [fileio.join_path(data_root, *folder, f'{split}_list.mat') for folder in ((), ('lists',))]
    path = next((path for path in candidates if fileio.isfile(path)), None)
    if path is None:
        raise GLSimError(f'{candidates[0]} is not there; unpack lists.tar of Stanford Dogs in {data_root}')
    files, labels = read_mat_fields(read_mat(path), ('file_list', 'labels'), path)
    return files, [int(label) for label in labels]
