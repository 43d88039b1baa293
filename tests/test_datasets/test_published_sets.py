import mmpretrain.datasets
import numpy as np
import published_layouts
import pytest
import scipy.io
from mmpretrain.registry import DATASETS
from published_layouts import (
    write_anime,
    write_fgvc_aircraft,
    write_flowers102,
    write_food101,
    write_inaturalist2017,
    write_nabirds,
    write_oxford_pets,
    write_stanford_cars,
    write_stanford_cars_in_one_file,
    write_stanford_dogs,
    write_vegfru,
)

from glsim_mm.datasets import (
    DAFB,
    FGVCAircraftFormat,
    Flowers102Format,
    Food101Format,
    INaturalist2017,
    Moe,
    NABirds,
    OxfordPetsFormat,
    StanfordCarsFormat,
    StanfordDogs,
    VegFru,
)
from glsim_mm.errors import GLSimError

NAMES = {
    NABirds: 'nabirds',
    StanfordDogs: 'dogs',
    INaturalist2017: 'inat17',
    VegFru: 'vegfru',
    DAFB: 'dafb',
    Moe: 'moe',
    Flowers102Format: 'flowers',
    Food101Format: 'food101',
    OxfordPetsFormat: 'pets',
    FGVCAircraftFormat: 'aircraft',
    StanfordCarsFormat: 'cars',
}
WRITERS = {kind: published_layouts.WRITERS[name] for kind, name in NAMES.items()}


def samples(dataset):
    return [dataset.get_data_info(index) for index in range(len(dataset))]


@pytest.mark.parametrize('kind', WRITERS)
def test_every_split_loads_its_images(kind, tmp_path):
    folder, found = WRITERS[kind](tmp_path), {}
    for split in kind.SIZES:
        config = dict(type=f'mmpretrain.{kind.__name__}', data_root=str(folder), split=split)
        found[split] = dataset = DATASETS.build(
            {**config, 'pipeline': [dict(type='LoadImage'), dict(type='PackInputs')]}
        )
        assert len(dataset) == len(dataset.CLASSES) * (2 if split == 'trainval' else 1)
        assert sorted(set(dataset.get_gt_labels())) == list(range(len(dataset.CLASSES)))
        assert dataset[0]['inputs'].shape == (3, 40, 50)
        assert dataset.test_mode == (split in ('val', 'test'))
        assert split in repr(dataset)
    train, *_, held_out = found.values()
    assert train.CLASSES == held_out.CLASSES
    assert not {s['img_path'] for s in samples(train)} & {s['img_path'] for s in samples(held_out)}


@pytest.mark.parametrize('kind', WRITERS)
def test_unknown_split_and_missing_folder(kind, tmp_path):
    with pytest.raises(GLSimError, match=f'{kind.__name__}: split must be one of train.* got .holdout.'):
        kind(tmp_path, split='holdout')
    with pytest.raises(GLSimError, match='nowhere does not exist; set data_root'):
        kind(tmp_path / 'nowhere')
    with pytest.raises(GLSimError, match='is not there'):
        kind(tmp_path)


def test_nabirds_numbers_the_nodes_that_have_images(tmp_path):
    dataset = NABirds(write_nabirds(tmp_path))
    assert dataset.CLASSES == ('Teal', 'Snowy Owl', 'Teal (Female)')
    assert dataset.metainfo['ancestors'] == (('Ducks',), ('Owls',), ('Ducks',))
    assert [(s['img_path'][-12:], s['gt_label']) for s in samples(dataset)] == [
        ('0007/a-1.jpg', 0),
        ('0009/b-1.jpg', 2),
        ('0008/c-1.jpg', 1),
    ]
    assert samples(dataset)[0]['gt_bboxes'].tolist() == [[5, 6, 25, 36]]


@pytest.mark.parametrize(
    'file, text, message',
    [
        ('hierarchy.txt', '1 0\n7 1\n8 1\n9 99\n', 'the class 99, which is unknown'),
        ('hierarchy.txt', '7 8\n8 7\n9 7\n', 'above itself'),
        ('image_class_labels.txt', 'a-1 7\n', 'do not list the same images'),
        ('image_class_labels.txt', 'a-1 55\n', 'has the class 55, which is not in classes.txt'),
        ('images.txt', 'a-1 7/x.jpg\na-2 7/x.jpg\n', 'images.txt lists 7/x.jpg twice, as a-1 and a-2'),
        ('bounding_boxes.txt', 'a-1 5 6 20\n', 'line 1 of .*bounding_boxes.txt cannot be read'),
    ],
)
def test_nabirds_files_that_do_not_fit(tmp_path, file, text, message):
    (write_nabirds(tmp_path) / file).write_text(text)
    with pytest.raises(GLSimError, match=message):
        NABirds(tmp_path)


@pytest.mark.parametrize('name', ['bounding_boxes.txt', 'hierarchy.txt'])
def test_nabirds_needs_all_its_files(tmp_path, name):
    (write_nabirds(tmp_path) / name).unlink()
    with pytest.raises(GLSimError, match=f'{name} is not there; check data_root, or complete the download'):
        NABirds(tmp_path)


def test_stanford_dogs_reads_lists_and_boxes(tmp_path):
    folder = write_stanford_dogs(tmp_path)
    dataset = StanfordDogs(folder, split='test', with_boxes=True)
    assert dataset.CLASSES == ('Chihuahua', 'Japanese spaniel')
    assert [s['gt_label'] for s in samples(dataset)] == [0, 1]
    assert samples(dataset)[0]['gt_bboxes'].tolist() == [[5, 6, 25, 36]]
    (folder / 'lists').mkdir()
    for name in ('train_list.mat', 'test_list.mat'):
        (folder / name).rename(folder / 'lists' / name)
    assert len(StanfordDogs(folder)) == 2 and 'gt_bboxes' not in samples(StanfordDogs(folder))[0]


def test_stanford_dogs_damaged_files(tmp_path):
    folder = write_stanford_dogs(tmp_path)
    next((folder / 'Annotation').rglob('*_0')).write_text('<annotation><bndbox>')
    with pytest.raises(GLSimError, match='unpack the annotations again'):
        StanfordDogs(folder, with_boxes=True)
    content = (folder / 'train_list.mat').read_bytes()
    for damaged in (content[:150], content[:300], b'no mat file at all'):
        (folder / 'train_list.mat').write_bytes(damaged)
        with pytest.raises(GLSimError, match='train_list.mat cannot be read'):
            StanfordDogs(folder)


def test_inaturalist_orders_species_by_id(tmp_path):
    dataset = INaturalist2017(write_inaturalist2017(tmp_path), split='val', with_boxes=True)
    assert dataset.CLASSES == ('Amanita muscaria', 'Accipiter cooperii', 'Anas crecca')
    assert dataset.metainfo['ancestors'] == (('Fungi',), ('Aves',), ('Aves',))
    assert [s['gt_label'] for s in samples(dataset)] == [1, 0, 2]
    assert [s['gt_bboxes'].tolist() for s in samples(dataset)] == [[[5, 6, 25, 36], [0, 0, 4, 4]], [], [[1, 2, 4, 6]]]
    assert samples(dataset)[1]['gt_bboxes'].shape == (0, 4)


@pytest.mark.parametrize(
    'text, message',
    [
        ('{"images": [', 'cannot be read .* damaged or incomplete'),
        ('{"images": []}', "has no list 'annotations'"),
        ('[]', "has no list 'annotations'"),
        (
            '{"images": [{"id": 1, "file_name": "x"}], "annotations": [{"image_id": 1, "category_id": 77}]}',
            'image 1 has',
        ),
    ],
)
def test_inaturalist_damaged_files(tmp_path, text, message):
    (write_inaturalist2017(tmp_path) / 'train2017.json').write_text(text)
    with pytest.raises(GLSimError, match=message):
        INaturalist2017(tmp_path)


def test_vegfru_counts_fruits_on_from_vegetables(tmp_path):
    dataset = VegFru(write_vegfru(tmp_path), split='trainval')
    assert dataset.CLASSES == ('Chinese cabbage', 'lotus root', 'apple')
    assert dataset.metainfo['ancestors'] == (
        ('vegetable', 'vegetable 05'),
        ('vegetable', 'vegetable 14'),
        ('fruit', 'fruit 01'),
    )
    assert [s['gt_label'] for s in samples(dataset)] == [0, 1, 2, 0, 1, 2]
    (tmp_path / 'veg200_lists' / 'veg_val.txt').write_text('just-a-name.jpg\n')
    with pytest.raises(GLSimError, match='line 1 of .*veg_val.txt cannot be read'):
        VegFru(tmp_path, split='val')


def test_anime_reads_the_authors_lists(tmp_path):
    dataset = Moe(write_anime(tmp_path), split='test')
    assert dataset.CLASSES == ('103_reinforce_zwei', 'sakura, "the" one')
    write_anime(tmp_path, 'faces')
    assert '/faces/' in samples(DAFB(tmp_path, image_folder='faces'))[0]['img_path']


@pytest.mark.parametrize(
    'file, text, message',
    [
        ('train.csv', 'class_id,dir\n7,a.png\n', 'line 2 of .*train.csv has class 7, but there are 2'),
        ('train.csv', 'class_id,dir\nx,a.png\n', "line 2 of .*train.csv has class_id 'x'"),
        ('train.csv', 'class_id,dir\n1\n', "line 2 of .*train.csv has no 'dir'"),
        ('train.csv', 'label,dir\n1,a.png\n', "has no column 'class_id' .its columns: label, dir."),
        ('train.csv', '', "has no column 'class_id'"),
        ('train.csv', 'class_id,dir\n', 'belongs to the train split'),
        ('classid_classname.csv', 'class_id,class_name\n0,a\n2,b\n', 'without gaps'),
    ],
)
def test_anime_damaged_files(tmp_path, file, text, message):
    (write_anime(tmp_path) / file).write_text(text)
    with pytest.raises(GLSimError, match=message):
        Moe(tmp_path)


def test_file_that_is_no_text(tmp_path):
    (write_anime(tmp_path) / 'train.csv').write_bytes(b'\xff\xfe\x00class_id')
    with pytest.raises(GLSimError, match='not UTF-8 text'):
        Moe(tmp_path)


@pytest.mark.parametrize(
    'kind, name, write',
    [
        (Flowers102Format, 'Flowers102', write_flowers102),
        (FGVCAircraftFormat, 'FGVCAircraft', write_fgvc_aircraft),
        (StanfordCarsFormat, 'StanfordCars', write_stanford_cars),
        (StanfordCarsFormat, 'StanfordCars', write_stanford_cars_in_one_file),
        (OxfordPetsFormat, 'OxfordIIITPet', write_oxford_pets),
        (Food101Format, 'Food101', write_food101),
    ],
)
def test_samples_are_those_of_mmpretrain(kind, name, write, tmp_path):
    folder = write(tmp_path)
    for split in kind.SIZES:
        expected = getattr(mmpretrain.datasets, name)(str(folder), split=split)
        found = samples(kind(folder, split=split))
        theirs = [(s['img_path'], s['gt_label']) for s in samples(expected)]
        if name in ('FGVCAircraft', 'Food101'):  # whose labels count all published names, of which the folder has two
            theirs = [(path, samples_label(expected, kind(folder), label)) for path, label in theirs]
        assert [(s['img_path'], s['gt_label']) for s in found] == theirs


def samples_label(theirs, ours, label):
    return ours.CLASSES.index(theirs.CLASSES[label])


def test_flowers_have_names(tmp_path):
    dataset = Flowers102Format(write_flowers102(tmp_path))
    assert len(dataset.CLASSES) == 102
    assert (dataset.CLASSES[0], dataset.CLASSES[-1]) == ('pink primrose', 'blackberry lily')


def test_flowers_labels_out_of_range(tmp_path):
    write_flowers102(tmp_path)
    scipy.io.savemat(tmp_path / 'imagelabels.mat', dict(labels=np.array([[103] * 306])))
    with pytest.raises(GLSimError, match='imagelabels.mat gives jpg/image_00001.jpg the class 103'):
        Flowers102Format(tmp_path)
    scipy.io.savemat(tmp_path / 'imagelabels.mat', dict(labels=np.array([[1, 2, 3]])))
    with pytest.raises(GLSimError, match='lists photo 4, but .* has 3 labels'):
        Flowers102Format(tmp_path)
    scipy.io.savemat(tmp_path / 'imagelabels.mat', dict(other=1))
    with pytest.raises(GLSimError, match="has no 'labels'"):
        Flowers102Format(tmp_path)


@pytest.mark.parametrize('line', ['cabbage/1', 'apple_pie', 'apple_pie/'])
def test_food_lines_that_lead_nowhere(line, tmp_path):
    (write_food101(tmp_path) / 'meta' / 'train.txt').write_text(f'apple_pie/0\n{line}\n')
    with pytest.raises(GLSimError, match='line 2 of .*train.txt is not a photo of a known class'):
        Food101Format(tmp_path)


def test_pets_have_species_and_boxes_of_heads(tmp_path):
    dataset = OxfordPetsFormat(write_oxford_pets(tmp_path), with_boxes=True)
    assert dataset.CLASSES == ('Abyssinian', 'american bulldog')
    assert dataset.metainfo['ancestors'] == (('cat',), ('dog',))
    assert samples(dataset)[0]['gt_bboxes'].tolist() == [[5, 6, 25, 36]]
    assert samples(OxfordPetsFormat(tmp_path, 'test', with_boxes=True))[0]['gt_bboxes'].shape == (0, 4)


@pytest.mark.parametrize(
    'text, message',
    [
        ('Abyssinian_1 1 1\n', 'line 1 of .*trainval.txt cannot be read'),
        ('# list\nAbyssinian_1 1 3 1\n', 'line 2 of .*trainval.txt cannot be read'),
        ('Abyssinian_1 0 1 1\n', 'trainval.txt leaves out classes, which must be 1, 2, 3'),
        ('Abyssinian_1 2 1 1\n', 'leaves out classes'),
    ],
)
def test_pets_damaged_files(text, message, tmp_path):
    (write_oxford_pets(tmp_path) / 'annotations' / 'trainval.txt').write_text(text)
    with pytest.raises(GLSimError, match=message):
        OxfordPetsFormat(tmp_path)


def test_aircraft_have_manufacturers_families_and_boxes(tmp_path):
    dataset = FGVCAircraftFormat(write_fgvc_aircraft(tmp_path))
    assert dataset.CLASSES == ('707-320', 'F-16A/B')
    assert dataset.metainfo['ancestors'] == (('Boeing', 'Boeing 707'), ('Lockheed', 'F-16'))
    assert samples(dataset)[0]['gt_bboxes'].tolist() == [[5, 6, 25, 36]]


@pytest.mark.parametrize(
    'file, text, message',
    [
        ('images_variant_train.txt', '0000001 Concorde\n', "photo 0000001 of the train split is a 'Concorde'"),
        ('images_box.txt', '0000001 5 6 25\n', 'line 1 of .*images_box.txt cannot be read'),
        ('images_box.txt', '0000001 5 6 25 36\n', 'images_box.txt has no box of photo 0000002'),
        ('variants.txt', '707-320\nF-16A/B\nConcorde\n', 'has no photo of Concorde'),
        ('images_variant_train.txt', '0000001\n', 'line 1 of .* cannot be read'),
    ],
)
def test_aircraft_damaged_files(file, text, message, tmp_path):
    (write_fgvc_aircraft(tmp_path) / 'data' / file).write_text(text)
    with pytest.raises(GLSimError, match=message):
        FGVCAircraftFormat(tmp_path, 'train')


@pytest.mark.parametrize('write', [write_stanford_cars, write_stanford_cars_in_one_file])
def test_cars_have_names_and_boxes(write, tmp_path):
    for split in ('train', 'test'):
        dataset = StanfordCarsFormat(write(tmp_path / split), split)
        assert dataset.CLASSES == ('AM General Hummer SUV 2000', 'Acura RL Sedan 2012')
        assert samples(dataset)[0]['gt_bboxes'].tolist() == [[5, 6, 25, 36]]
        assert dataset[0]['img_path'].endswith('.jpg')


def test_cars_labels_of_the_test_set_may_lie_outside_the_devkit(tmp_path):
    name = 'cars_test_annos_withlabels.mat'
    write_stanford_cars(tmp_path)
    (tmp_path / 'devkit' / name).rename(tmp_path / name)
    assert len(StanfordCarsFormat(tmp_path, 'test')) == 2
    (tmp_path / name).unlink()
    with pytest.raises(GLSimError, match='cars_test_annos_withlabels.mat is not there'):
        StanfordCarsFormat(tmp_path, 'test')


def test_cars_damaged_files(tmp_path):
    write_stanford_cars(tmp_path)
    path = tmp_path / 'devkit' / 'cars_train_annos.mat'
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(GLSimError, match='cars_train_annos.mat cannot be read'):
        StanfordCarsFormat(tmp_path)
    scipy.io.savemat(path, dict(other=1))
    with pytest.raises(GLSimError, match="has no 'annotations'"):
        StanfordCarsFormat(tmp_path)
    fields = [(name, object) for name in ('fname', 'class', 'bbox_x1', 'bbox_y1', 'bbox_x2', 'bbox_y2')]
    scipy.io.savemat(path, dict(annotations=np.array([[('1.jpg', 3, 1, 1, 2, 2)]], dtype=fields)))
    with pytest.raises(GLSimError, match='the class 3, but there are 1 to 2'):
        StanfordCarsFormat(tmp_path)
