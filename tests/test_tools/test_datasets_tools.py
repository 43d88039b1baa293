"""The command lines that check, complete and count data sets."""

import csv

import numpy as np
import pytest
from PIL import Image
from published_layouts import write_anime, write_nabirds, write_vegfru
from tiny_run import CLASSES, call_tool, write_config

from glsim_mm.apis.dataset_overview import choose_samples


def prepare(*arguments: object) -> int:
    """Exit code."""
    try:
        call_tool('datasets/prepare', *arguments)
    except SystemExit as end:
        return end.code
    return 0


def stats(*arguments: object) -> None:
    call_tool('datasets/stats', *arguments, '--no-progress')


def test_complete(tmp_path, capsys):
    write_anime(tmp_path)
    assert prepare('moe', '--root', tmp_path, '--images', '--deep', '--workers', 2) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"moeimouto's anime faces (Moe) in {tmp_path}: complete\n")
    assert 'images: 6 listed (number not published)' in captured.out
    assert '6 of 6 images' in captured.err


def test_incomplete(tmp_path, capsys):
    write_nabirds(tmp_path)
    (tmp_path / 'hierarchy.txt').unlink()
    assert prepare('nabirds', '--root', tmp_path, '--no-progress') == 1
    out = capsys.readouterr().out
    assert 'missing: hierarchy.txt (from nabirds.tar.gz)' in out
    assert 'agree to the terms of use at https://dl.allaboutbirds.org/nabirds' in out
    assert f'put it in {tmp_path / "downloads"} and run with --download' in out


def test_download_leaves_what_has_no_url(tmp_path, capsys):
    write_vegfru(tmp_path)
    (tmp_path / 'fru92_lists' / 'fru_test.txt').unlink()
    assert prepare('vegfru', '--root', tmp_path, '--download') == 1
    assert 'missing: fru92_lists/fru_test.txt' in capsys.readouterr().out


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['cubs', '--root', 'x'], "error: there is no data set 'cubs'; did you mean cub"),
        (['cub'], 'NAME and --root are needed'),
        (['--root', 'x'], 'NAME and --root are needed'),
        (['cub', '--root', 'x', '--workers', '0'], '--workers: must be 1 or more'),
        (['cub', '--root', __file__], 'is not a folder'),
    ],
)
def test_mistakes_in_one_line(arguments, words, capsys):
    assert prepare(*arguments) == 2
    captured = capsys.readouterr()
    assert words in captured.err.splitlines()[-1] and captured.out == ''


def test_list(capsys):
    call_tool('datasets/prepare', '--list')
    everything = capsys.readouterr().out
    call_tool('datasets/prepare', 'dogs', '--list')
    dogs = capsys.readouterr().out
    assert dogs.startswith('dogs: Stanford Dogs\n') and dogs.strip() in everything
    assert everything.count('homepage: ') == 12 and dogs.count('homepage: ') == 1


def test_stats_of_a_config(tmp_path, tiny_images, capsys):
    config = write_config(tmp_path / 'tiny_stats.py', tiny_images)
    out, sheet = tmp_path / 'new' / 'counts.csv', tmp_path / 'new' / 'sheet.png'
    stats(config, '--split', 'val', '--out', out, '--sheet', sheet, '--num', 3)
    text = capsys.readouterr().out
    assert text.startswith('8 images of 2 classes\nimages per class: min 4, median 4, max 4\nwidth in pixels: min 32')
    assert 'unreadable: 0\nequal content: 0\n' in text
    rows = list(csv.DictReader(out.open()))
    assert [(row['class'], row['images']) for row in rows] == [(name, '4') for name in CLASSES]
    with Image.open(sheet) as picture:
        pixels = np.asarray(picture.convert('RGB'))
    assert pixels.shape[1] >= 2 * 160 and (pixels < 250).any()


def test_stats_of_a_wrapped_set(tmp_path, tiny_images, capsys):
    wrapped = """
train_dataloader = dict(dataset=dict(
    _delete_=True, type='ClassDisjointSplit', half='test', pipeline=train_pipeline, datasets=[
        dict(type='CustomDataset', data_root='{data}', data_prefix='train', with_label=True, pipeline=[]),
        dict(type='CustomDataset', data_root='{data}', data_prefix='val', with_label=True, pipeline=[])]))
"""
    base = write_config(tmp_path / 'tiny_base_stats.py', tiny_images)
    config = tmp_path / 'tiny_wrapped_stats.py'
    config.write_text(f"_base_ = '{base}'\ntrain_pipeline = []\n" + wrapped.format(data=tiny_images))
    stats(config, '--no-duplicates')
    assert '8 images of 1 classes\n' in capsys.readouterr().out
    repeated = f"""_base_ = '{base}'
train_dataloader = dict(dataset=dict(_delete_=True, type='RepeatDataset', times=2, dataset=dict(
    type='CustomDataset', data_root='{tiny_images}', data_prefix='train', pipeline=[])))
"""
    config = tmp_path / 'tiny_repeated_stats.py'
    config.write_text(repeated)
    stats(config)
    assert '16 images of 2 classes' in capsys.readouterr().out


def test_sheet_with_an_unreadable_picture(tmp_path, capsys):
    for name in ('good', 'bad'):
        (tmp_path / 'train' / name).mkdir(parents=True)
    Image.new('RGB', (500, 100), 'red').save(tmp_path / 'train' / 'good' / 'a.png')
    (tmp_path / 'train' / 'bad' / 'b.png').write_bytes(b'x')
    config = write_config(tmp_path / 'tiny_unreadable_stats.py', tmp_path)
    stats(config, '--sheet', tmp_path / 'sheet.png', '--classes', 1)
    assert 'unreadable: 1' in capsys.readouterr().out
    with Image.open(tmp_path / 'sheet.png') as picture:
        colors = {color for _, color in picture.convert('RGB').getcolors(100000)}
    assert {(255, 0, 0), (224, 224, 224)} <= colors


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['--num', '0'], 'must be 1 or more'),
        (['--cfg-options', 'train_dataloader.dataset.data_root=none'], 'the data is not there: none'),
    ],
)
def test_mistakes_of_stats(arguments, words, tmp_path, tiny_images, capsys):
    config = write_config(tmp_path / 'tiny_mistake_stats.py', tiny_images)
    with pytest.raises(SystemExit) as raised:
        stats(config, *arguments)
    assert raised.value.code == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_stats_of_a_config_without_data(tmp_path, capsys):
    (tmp_path / 'empty_stats.py').write_text('model = dict()\n')
    with pytest.raises(SystemExit) as raised:
        stats(tmp_path / 'empty_stats.py')
    assert raised.value.code == 2
    assert 'the config has no train_dataloader' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        stats(tmp_path / 'none.py')
    assert 'does not exist' in capsys.readouterr().err


def test_samples_are_of_as_many_classes_as_possible():
    labels = [0] * 50 + [1] * 3 + [2]
    chosen = choose_samples(labels, 5)
    assert sorted(labels[index] for index in chosen) == [0, 0, 1, 1, 2]
    assert chosen == choose_samples(labels, 5) != choose_samples(labels, 5, seed=1)
    assert [labels[index] for index in chosen] == sorted(labels[index] for index in chosen)
    assert sorted(choose_samples(labels, 99)) == list(range(54))
