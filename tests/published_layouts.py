"""Tiny data sets in the file layouts of the published ones: two or three classes, a noise image each."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

SIZE = (50, 40)  # width, height


def write_image(path: Path) -> None:
    """An image of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """A text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(f'{line}\n' for line in lines), encoding='utf-8')


def write_nabirds(folder: Path) -> Path:
    """Birds (0) > Ducks (1) > Teal (7) and Teal, female (9); Birds > Owls (2) > Snowy Owl (8)."""
    images = [('a-1', 7, 1), ('a-2', 7, 0), ('b-1', 9, 1), ('b-2', 9, 0), ('c-1', 8, 1), ('c-2', 8, 0)]
    for key, label, _ in images:
        write_image(folder / 'images' / f'{label:04d}' / f'{key}.jpg')
    write_lines(folder / 'images.txt', [f'{key} {label:04d}/{key}.jpg' for key, label, _ in images])
    write_lines(folder / 'image_class_labels.txt', [f'{key} {label}' for key, label, _ in images])
    write_lines(folder / 'train_test_split.txt', [f'{key} {is_train}' for key, _, is_train in images])
    write_lines(folder / 'bounding_boxes.txt', [f'{key} 5 6 20 30' for key, _, _ in images])
    names = {0: 'Birds', 1: 'Ducks', 2: 'Owls', 7: 'Teal', 8: 'Snowy Owl', 9: 'Teal (Female)'}
    write_lines(folder / 'classes.txt', [f'{key} {name}' for key, name in names.items()])
    write_lines(folder / 'hierarchy.txt', ['1 0', '2 0', '7 1', '9 1', '8 2'])
    return folder


def write_stanford_dogs(folder: Path) -> Path:
    """Two breeds."""
    breeds = ('n02085620-Chihuahua', 'n02085782-Japanese_spaniel')
    voc = '<bndbox><xmin>5</xmin><ymin>6</ymin><xmax>25</xmax><ymax>36</ymax></bndbox>'
    for number, split in enumerate(('train', 'test')):
        paths = [f'{breed}/{breed.split("-")[0]}_{number}.jpg' for breed in breeds]
        for path in paths:
            write_image(folder / 'Images' / path)
            write_lines(folder / 'Annotation' / path.removesuffix('.jpg'), [f'<annotation>{voc}</annotation>'])
        files = np.array([[path] for path in paths], dtype=object)
        scipy.io.savemat(folder / f'{split}_list.mat', dict(file_list=files, labels=np.array([[1], [2]])))
    return folder


def write_inaturalist2017(folder: Path, *more_birds: str) -> Path:
    """Two birds and a fungus, and more birds; one photo has two boxes, another none."""
    categories = [
        dict(id=4, name='Accipiter cooperii', supercategory='Aves'),
        dict(id=2, name='Amanita muscaria', supercategory='Fungi'),
        dict(id=9, name='Anas crecca', supercategory='Aves'),
        *(dict(id=10 + number, name=name, supercategory='Aves') for number, name in enumerate(more_birds)),
    ]
    for start, split in ((0, 'train'), (10, 'val')):
        images, annotations = [], []
        for index, category in enumerate(categories):
            name = f'train_val_images/{category["supercategory"]}/{category["name"]}/{start + index}.jpg'
            write_image(folder / name)
            images.append(dict(id=start + index, file_name=name))
            annotations.append(dict(id=100 + start + index, image_id=start + index, category_id=category['id']))
        content = dict(images=images, annotations=annotations, categories=categories)
        (folder / f'{split}2017.json').write_text(json.dumps(content))
        boxes = [dict(image_id=start, bbox=[5, 6, 20, 30]), dict(image_id=start, bbox=[0, 0, 4, 4])]
        boxes.append(dict(image_id=start + 2, bbox=[1, 2, 3, 4]))
        (folder / f'{split}_2017_bboxes.json').write_text(json.dumps(dict(annotations=boxes)))
    return folder


def write_vegfru(folder: Path) -> Path:
    """Two vegetables and a fruit."""
    halves = dict(
        veg=('veg200', [('Chinese_cabbage', 'v_05_01'), ('lotus root', 'v_14_02')]),
        fru=('fru92', [('apple', 'f_01_01')]),
    )
    for number, split in enumerate(('train', 'val', 'test')):
        for prefix, (half, classes) in halves.items():
            lines = []
            for label, (name, code) in enumerate(classes):
                file = f'{name}/{code}_{number:04d}.jpg'
                write_image(folder / f'{half}_images' / file)
                lines.append(f'{file} {label}')
            write_lines(folder / f'{half}_lists' / f'{prefix}_{split}.txt', lines)
    return folder


def write_anime(folder: Path, image_folder: str = 'data') -> Path:
    """Two characters, as GLSim's authors list them."""
    names = ('103_reinforce_zwei', 'sakura, "the" one')
    write_lines(
        folder / 'classid_classname.csv', ['class_id,class_name', '0,103_reinforce_zwei', '1,"sakura, ""the"" one"']
    )
    for split in ('train', 'val', 'test'):
        for label in range(len(names)):
            write_image(folder / image_folder / f'{label}' / f'{split}.png')
        write_lines(folder / f'{split}.csv', ['class_id,dir', *(f'{label},{label}/{split}.png' for label in (0, 1))])
    return folder


def write_flowers102(folder: Path) -> Path:
    """All 102 classes, a photo for each split."""
    classes, splits = range(1, 103), ('trnid', 'valid', 'tstid')
    for photo in range(1, 3 * 102 + 1):
        write_image(folder / 'jpg' / f'image_{photo:05d}.jpg')
    scipy.io.savemat(folder / 'imagelabels.mat', dict(labels=np.array([[*classes] * 3], np.uint8)))
    ids = {name: np.arange(102 * i + 1, 102 * i + 103)[None].astype(np.uint16) for i, name in enumerate(splits)}
    scipy.io.savemat(folder / 'setid.mat', ids)
    return folder


def write_food101(folder: Path) -> Path:
    """Two dishes."""
    dishes = ('apple_pie', 'baklava')
    write_lines(folder / 'meta' / 'classes.txt', dishes)
    for number, split in enumerate(('train', 'test')):
        write_lines(folder / 'meta' / f'{split}.txt', [f'{dish}/{number}' for dish in dishes])
        for dish in dishes:
            write_image(folder / 'images' / dish / f'{number}.jpg')
    return folder


def write_oxford_pets(folder: Path) -> Path:
    """A cat and a dog; boxes of the training photos."""
    voc = '<bndbox><xmin>5</xmin><ymin>6</ymin><xmax>25</xmax><ymax>36</ymax></bndbox>'
    for split, numbers in (('trainval', (1, 2)), ('test', (3,))):
        photos = [(f'{name}_{number}', row) for name, row in _PETS.items() for number in numbers]
        write_lines(folder / 'annotations' / f'{split}.txt', [f'{photo} {row}' for photo, row in photos])
        for photo, _ in photos:
            write_image(folder / 'images' / f'{photo}.jpg')
            if split == 'trainval':
                write_lines(folder / 'annotations' / 'xmls' / f'{photo}.xml', [f'<annotation>{voc}</annotation>'])
    return folder


_PETS = {'Abyssinian': '1 1 1', 'american_bulldog': '2 2 1'}  # class, species, breed of the species


def write_fgvc_aircraft(folder: Path) -> Path:
    """Two variants of two manufacturers."""
    levels = dict(variant=('707-320', 'F-16A/B'), family=('Boeing 707', 'F-16'), manufacturer=('Boeing', 'Lockheed'))
    data = folder / 'data'
    write_lines(data / 'variants.txt', levels['variant'])
    photos = dict(train=('0000001', '0000002'), val=('0000003', '0000004'), test=('0000005', '0000006'))
    photos['trainval'] = photos['train'] + photos['val']
    for split, names in photos.items():
        for level, groups in levels.items():
            write_lines(data / f'images_{level}_{split}.txt', [f'{n} {groups[i % 2]}' for i, n in enumerate(names)])
        for name in names:
            write_image(data / 'images' / f'{name}.jpg')
    every = sorted({name for names in photos.values() for name in names})
    write_lines(data / 'images_box.txt', [f'{name} 5 6 25 36' for name in every])
    return folder


def write_stanford_cars(folder: Path) -> Path:
    """Two models, in the layout with a devkit."""
    (folder / 'devkit').mkdir(parents=True)
    names = np.array([['AM General Hummer SUV 2000', 'Acura RL Sedan 2012']], dtype=object)
    scipy.io.savemat(folder / 'devkit' / 'cars_meta.mat', dict(class_names=names))
    for split, file in (('train', 'cars_train_annos.mat'), ('test', 'cars_test_annos_withlabels.mat')):
        photos = ['00001.jpg', '00002.jpg']
        for photo in photos:
            write_image(folder / f'cars_{split}' / photo)
        rows = [(5, 6, 25, 36, label, photo) for label, photo in enumerate(photos, start=1)]
        _write_cars(folder / 'devkit' / file, ('class', 'fname'), rows)
    return folder


def write_stanford_cars_in_one_file(folder: Path) -> Path:
    """Two models, in the layout of all photos in one folder."""
    rows = []
    for number in range(1, 5):
        write_image(folder / 'car_ims' / f'{number:06d}.jpg')
        rows.append((f'car_ims/{number:06d}.jpg', 5, 6, 25, 36, 1 + number % 2, int(number > 2)))
    names = np.array([['AM General Hummer SUV 2000', 'Acura RL Sedan 2012']], dtype=object)
    fields = ['relative_im_path', *_CAR_BOX, 'class', 'test']
    content = np.array([rows], dtype=[(name, object) for name in fields])
    scipy.io.savemat(folder / 'cars_annos.mat', dict(annotations=content, class_names=names))
    return folder


def write_inshop(folder: Path) -> Path:
    """Two garments to train, two others to search, each a query and two photos in the gallery."""
    rows = [(f'img/train/id_{item}/{i}.jpg', f'id_{item}', 'train') for item in (1, 2) for i in (1, 2)]
    rows += [(f'img/test/id_{item}/0.jpg', f'id_{item}', 'query') for item in (3, 4)]
    rows += [(f'img/test/id_{item}/{i}.jpg', f'id_{item}', 'gallery') for item in (3, 4) for i in (1, 2)]
    for path, _, _ in rows:
        write_image(folder / 'Img' / path)
    lines = [str(len(rows)), 'image_name item_id evaluation_status', *(' '.join(row) for row in rows)]
    write_lines(folder / 'Eval' / 'list_eval_partition.txt', lines)
    return folder


_CAR_BOX = ('bbox_x1', 'bbox_y1', 'bbox_x2', 'bbox_y2')


def _write_cars(path: Path, last: Sequence[str], rows: Sequence[tuple]) -> None:
    content = np.array([rows], dtype=[(name, object) for name in (*_CAR_BOX, *last)])
    scipy.io.savemat(path, dict(annotations=content))


# Every set but CUB, by the name of its configs.
WRITERS = {
    'dafb': lambda folder: write_anime(folder, 'fullMin256'),
    'dogs': write_stanford_dogs,
    'flowers': write_flowers102,
    'food101': write_food101,
    'inat17': write_inaturalist2017,
    'moe': write_anime,
    'nabirds': write_nabirds,
    'pets': write_oxford_pets,
    'vegfru': write_vegfru,
    'aircraft': write_fgvc_aircraft,
    'cars': write_stanford_cars,
}
