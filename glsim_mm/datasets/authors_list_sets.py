"""Published data sets whose splits GLSim's authors list in CSV files: DAFB and Moe."""

from mmengine import fileio
from mmpretrain.registry import DATASETS

from ..errors import GLSimError
from .annotation_files import read_csv
from .fine_grained import NOT_STATED, FineGrainedDataset, PublishedSet, Source


class ListedByAuthors(FineGrainedDataset):
    """Base of sets whose splits GLSim's authors publish as CSV files (https://github.com/arkel23/GLSim).

    ``train.csv``, ``val.csv`` and ``test.csv`` have the columns ``class_id`` (from 0) and ``dir`` (path below the
    folder of images), ``classid_classname.csv`` has ``class_id`` and ``class_name``. The authors train on
    ``'trainval'``. See :class:`FineGrainedDataset` for further arguments.

    Args:
        image_folder: Folder of images below ``data_root``. Defaults to the authors'.
    """

    SIZES = dict(train=None, val=None, trainval=None, test=None)
    IMAGE_FOLDER = ''

    def __init__(self, data_root: str, split: str | None = None, image_folder: str | None = None, **kwargs) -> None:
        self.image_folder = self.IMAGE_FOLDER if image_folder is None else image_folder
        super().__init__(data_root, split, **kwargs)

    def read_metainfo(self, data_root: str) -> dict:
        path = fileio.join_path(data_root, 'classid_classname.csv')
        names = {label: row['class_name'] for _, label, row in _read_labels(path, 'class_name')}
        if sorted(names) != list(range(len(names))):
            raise GLSimError(f'the ids in {path} must be 0, 1, 2, ... without gaps; download it again')
        return dict(classes=tuple(names[label] for label in sorted(names)))

    def read_samples(self) -> list[dict]:
        samples = []
        for split in ('train', 'val') if self.split == 'trainval' else (self.split,):
            path = self.path(f'{split}.csv')
            for number, label, row in _read_labels(path, 'dir'):
                if not 0 <= label < len(self.CLASSES):
                    raise GLSimError(f'line {number} of {path} has class {label}, but there are {len(self.CLASSES)}')
                samples.append(dict(img_path=f'{self.image_folder}/{row["dir"]}', gt_label=label))
        return samples


def _read_labels(path: str, column: str) -> list[tuple[int, int, dict[str, str]]]:
    """Number, label and cells of each row."""
    rows = []
    for number, row in read_csv(path, ('class_id', column)):
        try:
            rows.append((number, int(row['class_id']), row))
        except ValueError as error:
            raise GLSimError(
                f'line {number} of {path} has class_id {row["class_id"]!r}, which is not a whole number'
            ) from error
    return rows


def _lists_of_authors(folder: str, **urls: str) -> tuple[Source, ...]:
    commit = 'https://raw.githubusercontent.com/arkel23/GLSim/1a260fc778639c22115c21106434a5abf4c36db6/data'
    names = ('classid_classname', 'train', 'val', 'test')
    return tuple(Source(f'{name}.csv', url=urls.get(name, f'{commit}/{folder}/{name}.csv')) for name in names)


@DATASETS.register_module()
class DAFB(ListedByAuthors):
    """DAF:re with background (Rios et al., arXiv 2101.08674): 3,263 anime characters, 463,437 pictures.

    The folder holds::

        ├── fullMin256/                pictures, short side 256 px
        ├── train.csv                  class_id, dir (path below fullMin256/)
        ├── val.csv
        ├── test.csv
        └── classid_classname.csv      class_id, class_name

    See :class:`ListedByAuthors` for arguments. DAF:re's face crops are read by::

        DAFB('data/dafb', split='test', image_folder='faces')
    """

    IMAGE_FOLDER = 'fullMin256'


DAFB_SET = PublishedSet(
    name='dafb',
    title='DAF:re with background (DAFB)',
    reader=DAFB,
    homepage='https://github.com/arkel23/Danbooru2018AnimeCharacterRecognitionDataset_Revamped',
    licence=f'{NOT_STATED}. The pictures come from Danbooru and belong to their artists.',
    total=463437,
    sources=(
        Source('dafre_full.tar.gz', ('fullMin256',)),
        # The list of validation pictures is in another repository of the authors.
        *_lists_of_authors(
            'daf',
            val='https://raw.githubusercontent.com/arkel23/Pretrained-ViT/91ee2dc158823a8c9186d048d67546a8cc8ce60a/data/'
            'daf/val.csv',
        ),
    ),
    by_hand="its homepage links the authors' folder on Google Drive, which has the archive in data/",
    notes="The number of images is the paper's (arXiv 2101.08674); what is checked are the pictures that the lists "
    'name.',
)


@DATASETS.register_module()
class Moe(ListedByAuthors):
    """moeimouto's anime faces (http://www.nurs.or.jp/~nagadomi/animeface-character-dataset): 173 characters.

    The folder holds::

        ├── data/                      face crops of 160 px
        │   └── 103_reinforce_zwei/face_968_385_22.png
        ├── train.csv                  class_id, dir (path below data/)
        ├── val.csv
        ├── test.csv
        └── classid_classname.csv      class_id, class_name

    See :class:`ListedByAuthors` for arguments::

        Moe('data/moe', split='trainval')
    """

    IMAGE_FOLDER = 'data'


MOE = PublishedSet(
    name='moe',
    title="moeimouto's anime faces (Moe)",
    reader=Moe,
    homepage='http://www.nurs.or.jp/~nagadomi/animeface-character-dataset',
    licence=f'{NOT_STATED}. The README offers the set as training and test data for experiments, and asks owners of '
    'pictures to write to its author if they do not agree.',
    boxes='none (the images are crops)',
    sources=(Source('animeface-character-dataset.zip', ('data',), rename={'thumb': 'data'}), *_lists_of_authors('moe')),
    files_at='http://www.nurs.or.jp/~nagadomi/animeface-character-dataset/data',
    notes="GLSim's authors name https://www.kaggle.com/datasets/mylesoneill/tagged-anime-illustrations "
    '(moeimouto-faces) as their source; its folders of characters belong in data/.',
)
