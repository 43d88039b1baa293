"""All command lines leave out the same files of a folder of photos, and say how many."""

import shutil

import pytest
import torch
from image_files import LEEDS, photo_with_exif
from mmengine.config import Config
from mmpretrain.registry import DATASETS, MODELS
from PIL import Image
from tiny_run import CLASSES, call_tool, read_log, write_config, write_images

from glsim_mm.datasets.data_faults import left_out_of
from retrieval.gallery import open_gallery

HEIC = b'\0\0\0\x18ftypheic\0\0\0\0mif1heic' + bytes(200)


@pytest.fixture(scope='module')
def model_files(tmp_path_factory):
    """Config, and checkpoint with random weights."""
    folder = tmp_path_factory.mktemp('left_out')
    config = write_config(folder / 'tiny_left_out.py', write_images(folder / 'images'))
    model = MODELS.build(dict(Config.fromfile(config).model, type='mmpretrain.GLSimClassifier'))
    torch.save({'state_dict': model.state_dict(), 'meta': {'dataset_meta': {'classes': CLASSES}}}, folder / 'w.pth')
    return config, folder / 'w.pth'


@pytest.fixture
def photos(tmp_path):
    """Two photos, a HEIC file that is called .jpg, four pieces of junk, a mask, a text and a Photoshop file."""
    root = tmp_path / 'photos'
    for place in ('wren', '.Trash-0/files', '@eaDir/0.jpg', '.ipynb_checkpoints'):
        (root / place).mkdir(parents=True)
        Image.new('RGB', (40, 30), 'red').save(root / place / 'photo.jpg')
    Image.new('RGB', (40, 30), 'blue').save(root / 'wren' / 'b.jfif', 'JPEG')
    Image.new('L', (40, 30), 255).save(root / 'wren' / 'b_mask.png')
    (root / 'e.jpg').write_bytes(HEIC)
    for name in ('._photo.jpg', 'notes.txt', 'wren/b.psd'):
        (root / name).write_bytes(b'x')
    return root


COUNTS = (
    '4 hidden or of the system (such as .Trash-0), 1 .txt (notes.txt), 1 .psd (wren/b.psd), '
    '1 excluded (wren/b_mask.png)'
)


def test_infer(model_files, photos, capfd):
    call_tool('infer', *model_files, photos, '--exclude', '*_mask.png', '--device', 'cpu', '--no-progress')
    captured = capfd.readouterr()
    lines = [line.rpartition('/')[2] for line in captured.out.splitlines() if '%' in line]
    assert lines == ['b.jfif', 'photo.jpg']


def test_infer_tells(model_files, photos, caplog):
    call_tool('infer', *model_files, photos, '--exclude', '*_mask.png', '--device', 'cpu', '--no-progress')
    assert caplog.messages.count(f'left out: {COUNTS}') == 1
    assert any('e.jpg cannot be read (a HEIC file' in message for message in caplog.messages)


def test_build_add_and_search(model_files, photos, tmp_path, capsys, caplog):
    options = ['--exclude', '*_mask.png', '--device', 'cpu', '--num-workers', 0]
    gallery = tmp_path / 'gallery'
    call_tool('retrieval/build', photos, *model_files, '--out', gallery, *options)
    out = capsys.readouterr().out
    assert 'images: 2 in the gallery' in out and 'unreadable: 1, left out' in out
    assert f'left out: {COUNTS}' in out.splitlines()
    with open_gallery(gallery) as opened:
        found = [(record.path, record.label) for record in opened.records(opened.ids())]
    assert sorted(found) == [('wren/b.jfif', 'wren'), ('wren/photo.jpg', 'wren')]

    Image.new('RGB', (40, 30), 'green').save(photos / 'wren' / 'new.jpg')
    call_tool('retrieval/add', gallery, photos, *options, '--exclude', 'photo.jpg')
    out = capsys.readouterr().out
    assert 'images: 3 in the gallery, 1 encoded now' in out
    assert '2 excluded (such as wren/b_mask.png)' in out
    assert not any(message.startswith('left out: 4') for message in caplog.messages)  # told in the report

    call_tool('retrieval/search', gallery, photos, '--exclude', '*_mask.png', '--exclude', 'b.*', '--device', 'cpu')
    assert any(message.startswith('left out: 4 hidden') for message in caplog.messages)
    assert 'b.jfif' not in [line.split()[0] for line in capsys.readouterr().out.splitlines() if line[:1] == '/']


def test_a_table_is_a_list_of_its_own(model_files, photos, tmp_path, capsys):
    """What a table names is taken, hidden or not, unless it is excluded."""
    (photos / 'all.csv').write_text(
        'path,label\nwren/b.jfif,wren\nwren/b_mask.png,wren\n.Trash-0/files/photo.jpg,ani\n'
    )
    options = ['--exclude', '*_mask.png', '--device', 'cpu', '--num-workers', 0]
    call_tool('retrieval/build', photos / 'all.csv', *model_files, '--out', tmp_path / 'gallery', *options)
    out = capsys.readouterr().out
    assert 'images: 2 in the gallery' in out and 'left out: 1 excluded (wren/b_mask.png)' in out.splitlines()


def test_data_set_of_the_config(model_files, tmp_path, capsys):
    config, checkpoint = model_files
    images = shutil.copytree(config.parent / 'images', tmp_path / 'images')
    (images / 'val' / '.hidden').mkdir()
    (images / 'val' / 'plain' / 'a.psd').touch()
    data = f'val_dataloader.dataset.data_root={images}'
    options = ['--dataset', 'val', '--cfg-options', data, '--device', 'cpu', '--num-workers', '0']
    call_tool('retrieval/build', config, checkpoint, '--out', tmp_path / 'gallery', *options, '--exclude', 'plain0.png')
    lines = capsys.readouterr().out.splitlines()
    assert (
        'left out: 1 hidden or of the system (.hidden), 1 .psd (plain/a.psd), 1 excluded (val/plain/plain0.png)'
        in lines
    )


def test_exif(model_files, tmp_path, capsys):
    photos = tmp_path / 'trip'
    photos.mkdir()
    (photos / 'a.jpg').write_bytes(photo_with_exif({0x0110: 'X100'}, {0x9003: '2024:05:01 12:30:00'}, LEEDS))
    (photos / 'b.jpg').write_bytes(photo_with_exif({}, {0x9003: '2024:99:01 12:30:00'}, color='red'))
    options = ['--exif', '--device', 'cpu', '--num-workers', 0]
    call_tool('retrieval/build', photos, *model_files, '--out', tmp_path / 'gallery', *options)
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith('EXIF'))
    assert line == (
        'EXIF: taken of 1, camera of 1, latitude of 1, longitude of 1 of 2 photos; 1 impossible values dropped (such '
        "as b.jpg: date: '2024:99:01 12:30:00' is no date)"
    )
    (photos / 'c.jpg').write_bytes(photo_with_exif({0x0110: 'X200'}, color='blue'))
    call_tool('retrieval/add', tmp_path / 'gallery', photos, *options)
    assert 'EXIF: taken of 0, camera of 1, latitude of 0, longitude of 0 of 2 photos' in capsys.readouterr().out
    call_tool(
        'retrieval/search', tmp_path / 'gallery', photos / 'b.jpg', '--where', 'taken>=2024-05-01', '--device', 'cpu'
    )
    assert 'a.jpg' in capsys.readouterr().out


@pytest.mark.parametrize('tool', ['infer', 'retrieval/build', 'retrieval/add'])
def test_patterns_that_mean_nothing(tool, model_files, photos, tmp_path, capsys):
    arguments = {
        'infer': [*model_files, photos],
        'retrieval/build': [photos, *model_files, '--out', tmp_path / 'gallery'],
        'retrieval/add': [tmp_path / 'gallery', photos],
    }[tool]
    with pytest.raises(SystemExit) as raised:
        call_tool(tool, *arguments, '--exclude', '!photo.jpg')
    assert raised.value.code == 2
    if tool != 'retrieval/add':  # where there is no gallery
        assert "'!photo.jpg' excludes nothing" in capsys.readouterr().err


def test_training_tells_what_is_wrong_in_one_line_and_the_command_lists_it(tmp_path, capsys):
    images = write_images(tmp_path / 'images')
    train, val = images / 'train', images / 'val'
    for name in ('.ipynb_checkpoints', 'plain/@eaDir'):
        shutil.copytree(train / 'striped', train / name)
    (train / 'plain' / 'a.psd').touch()
    for index in (1, 2, 3):
        (train / 'plain' / f'plain{index}.png').unlink()
    shutil.copy(train / 'striped' / 'striped1.png', val / 'striped' / 'again.png')
    config, work = write_config(tmp_path / 'tiny_faults.py', images), tmp_path / 'work'
    call_tool('train', config, '--work-dir', work, '--cfg-options', 'train_cfg.max_epochs=1')
    (line,) = (line for line in read_log(work).splitlines() if 'data: ' in line)
    assert line.partition('data: ')[2] == (
        'classes of one image: 1 (plain); photos that val has too: 1; left out of train: 2 hidden or of the system '
        '(such as .ipynb_checkpoints), 1 .psd (plain/a.psd); listed by: glsim stats '
        f'{work}/tiny_faults.py'
    )
    capsys.readouterr()
    call_tool('datasets/stats', work / 'tiny_faults.py', '--no-progress')
    text = capsys.readouterr().out
    assert 'classes of one image: 1 (plain)' in text
    assert f'also in val, equal content: 1\n  {train}/striped/striped1.png, {val}/striped/again.png\n' in text
    assert 'left out, hidden or of the system: 2\n  .ipynb_checkpoints\n  plain/@eaDir\n' in text
    assert 'left out, .psd: 1\n  plain/a.psd\n' in text


def test_tests_and_pictures_tell_what_is_left_out(model_files, tmp_path, caplog):
    config, checkpoint = model_files
    images = shutil.copytree(config.parent / 'images', tmp_path / 'images')
    (images / 'val' / 'plain' / 'a.psd').touch()
    (images / 'val' / '@eaDir').mkdir()
    left = '1 hidden or of the system (@eaDir), 1 .psd (plain/a.psd)'
    data = ['--cfg-options', f'test_dataloader.dataset.data_root={images}']
    call_tool('test', config, checkpoint, '--work-dir', tmp_path / 'work', *data)
    assert f'data: left out of test: {left}' in read_log(tmp_path / 'work')
    call_tool('look', config, checkpoint, '--out-dir', tmp_path / 'panels', *data)
    assert f'left out of the test split: {left}' in caplog.messages
    half = dict(type='ClassDisjointSplit', half='train', datasets=[])
    half['datasets'].append(dict(type='FolderDataset', data_root=str(images), data_prefix='val', pipeline=[]))
    assert left_out_of(DATASETS.build(half)).summary() == left


def test_training_on_one_class_is_refused(tmp_path, capsys):
    images = write_images(tmp_path / 'images')
    for split in ('train', 'val'):
        shutil.rmtree(images / split / 'plain')
    config = write_config(tmp_path / 'tiny_one_class.py', images)
    for options in ([], ['--cfg-options', 'model.head.num_classes=1']):
        with pytest.raises(SystemExit) as raised:
            call_tool('train', config, '--work-dir', tmp_path / 'work', *options)
        assert raised.value.code == 2
        assert "train has photos of one class only, 'striped'; a classifier learns nothing" in capsys.readouterr().err
    call_tool('datasets/stats', config, '--no-progress')
    assert 'all images are of one class' in capsys.readouterr().out


def test_boxes_of_a_table_before_training(tmp_path, capsys):
    images = write_images(tmp_path / 'images')
    photos = sorted((images / 'train').rglob('*.png'))
    rows = [f'{photo.relative_to(images)},{photo.parent.name},500 500 900 900' for photo in photos]
    (images / 'all.csv').write_text('path,label,box\n' + '\n'.join(rows))
    table = f"dict(_delete_=True, type='TableDataset', ann_file='all.csv', data_root='{images}', pipeline=pipeline)"
    config = tmp_path / 'tiny_boxes.py'
    base = write_config(tmp_path / 'tiny_boxes_base.py', images)
    pipeline = 'pipeline = _base_.train_pipeline'
    config.write_text(f"_base_ = '{base}'\n{pipeline}\ntrain_dataloader = dict(dataset={table})\n")
    call_tool('train', config, '--work-dir', tmp_path / 'work', '--cfg-options', 'train_cfg.max_epochs=1')
    (line,) = (line for line in read_log(tmp_path / 'work').splitlines() if 'data: ' in line)
    assert 'data: boxes that hold nothing of their photo: in 8 of 8 photos looked at; listed by: ' in line
    (images / 'all.csv').write_text((images / 'all.csv').read_text().replace('500 500 900 900', '0.1 0.1 0.9 0.9'))
    capsys.readouterr()
    with pytest.raises(SystemExit):
        call_tool('train', config, '--work-dir', tmp_path / 'work')
    assert "all.csv has the box '0.1 0.1 0.9 0.9', which is a fraction of the photo" in capsys.readouterr().err
