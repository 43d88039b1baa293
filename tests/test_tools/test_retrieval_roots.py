"""A gallery of two roots, from the command line: nothing that is written tells where they lie, and both may move."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from tiny_run import call_tool

from glsim_mm.search.gallery_source import read_gallery_source
from retrieval.gallery import open_gallery

OPTIONS = ('--device', 'cpu', '--num-workers', 0, '--no-progress')


def save(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 30, 3), np.uint8)).save(path)


@pytest.fixture(scope='module')
def built(model_files, tmp_path_factory):
    """A gallery of two roots with the same paths below them, and their photos."""
    folder = tmp_path_factory.mktemp('roots')
    shutil.copytree(model_files[2], folder / 'photos')
    for number, name in enumerate(('plain/plain0.png', 'striped/new.png')):
        save(folder / 'other' / name, number)
    call_tool('retrieval/build', folder / 'photos', *model_files[:2], '--out', folder / 'gallery', *OPTIONS)
    call_tool('retrieval/add', folder / 'gallery', folder / 'other', '--root', f'phone={folder}/other', *OPTIONS)
    return folder


@pytest.fixture(params=['folder', 'milvus'])
def gallery(request, built, tmp_path):
    """Copies of both roots; the gallery has followed them, in a folder or in Milvus."""
    for name in ('photos', 'other', 'gallery'):
        shutil.copytree(built / name, tmp_path / name)
    if request.param == 'milvus':
        call_tool('retrieval/migrate', built / 'gallery', f'milvus://{tmp_path}/roots.db/gallery')
    place = tmp_path / 'gallery' if request.param == 'folder' else f'milvus://{tmp_path}/roots.db/gallery'
    call_tool('retrieval/sync', place, '--root', tmp_path / 'photos', '--root', f'phone={tmp_path}/other')
    return place


def paths(gallery) -> list[str]:
    with open_gallery(gallery) as opened:
        return sorted(one.path for one in opened.records(opened.ids()) if ':' in one.path)


def test_nothing_that_is_written_tells_where_photos_lie(gallery, tmp_path, capsys):
    save(tmp_path / 'photos' / 'plain' / 'late.png', 7)
    broken = tmp_path / 'photos' / 'plain' / 'broken.png'
    broken.write_bytes(b'')
    (tmp_path / 'other' / 'striped' / 'new.png').rename(tmp_path / 'other' / 'plain' / 'moved.png')
    query = tmp_path / 'other' / 'plain' / 'plain0.png'
    out = tmp_path / 'out'
    files = [out / name for name in ('found.html', 'found.json', 'found.png')]
    capsys.readouterr()
    call_tool(
        'retrieval/sync', gallery, tmp_path / 'photos', tmp_path / 'other', '--report', out / 'sync.json', *OPTIONS
    )
    printed = capsys.readouterr().out
    assert 'phone:striped/new.png' in (out / 'sync.json').read_text() and ' in photos, phone;' in printed
    call_tool('retrieval/search', gallery, query, broken, '-k', 12, '--out', *files, '--json')
    call_tool('retrieval/search', gallery, '--id', 0, '-k', 12, '--out', out / 'similar.html')
    call_tool('retrieval/classify', gallery, query, broken, '--json')
    call_tool('retrieval/duplicates', gallery, '--threshold', 0.1, '--json')
    call_tool('retrieval/evaluate', gallery, '--by-class', 3, '--json', out / 'evaluation.json')
    printed = capsys.readouterr().out
    written = {path.name: path.read_bytes() for path in sorted(out.rglob('*'))}
    assert {path.name for path in files} | {'sync.json', 'similar.html', 'evaluation.json'} <= written.keys()
    assert [
        name for name, content in {**written, 'printed': printed.encode()}.items() if str(tmp_path).encode() in content
    ] == []
    page = written['found.html'].decode()
    assert '>phone:plain/moved.png' in page and '>plain/plain0.png' in page
    assert page.count('(cannot be read)') == page.count('plain/broken.png (cannot be read)') > 0
    results = json.loads(written['found.json'])
    assert results[0]['query']['path'] == 'other/plain/plain0.png'
    assert results[0]['hits'][0]['path'] == 'phone:plain/plain0.png'
    assert paths(gallery) == ['phone:plain/moved.png', 'phone:plain/plain0.png']


@pytest.mark.parametrize('gallery', ['folder'], indirect=True)
def test_photos_of_all_roots_are_encoded_again_to_explain_them(gallery, tmp_path, capsys):
    photo = tmp_path / 'other' / 'plain' / 'plain0.png'
    capsys.readouterr()
    call_tool('retrieval/search', gallery, photo, '-k', 12, '--explain', '--json')
    hits = json.loads(capsys.readouterr().out)[0]['hits']
    assert hits[0]['path'] == 'phone:plain/plain0.png' and all(hit['matches'] for hit in hits)


def test_roots_that_moved_are_corrected_by_one_command(gallery, tmp_path, capsys):
    before = paths(gallery)
    (tmp_path / 'other').rename(tmp_path / 'other place')
    capsys.readouterr()
    call_tool('retrieval/info', gallery)
    assert f'root phone: {tmp_path}/other, which is not there' in capsys.readouterr().out
    call_tool('retrieval/search', gallery, '--id', 0, '-k', 12, '--out', 'lost.html')
    assert '>phone:plain/plain0.png' in (tmp_path / 'lost.html').read_text()
    with pytest.raises(SystemExit):
        call_tool('retrieval/sync', gallery, '--root', f'phone={tmp_path}/photo')
    assert 'photo' in capsys.readouterr().err
    call_tool('retrieval/sync', gallery, '--root', f'phone={tmp_path}/other place')
    assert f'root phone: {tmp_path}/other -> {tmp_path}/other place' in capsys.readouterr().out
    call_tool('retrieval/sync', gallery, '--root', f'phone={tmp_path}/other place')
    assert 'all roots are as they were' in capsys.readouterr().out
    call_tool('retrieval/info', gallery, '--json')
    roots = json.loads(capsys.readouterr().out)['roots']
    assert roots['phone'] == dict(folder=f'{tmp_path}/other place', exists=True) and roots['']['exists']
    call_tool('retrieval/sync', gallery, tmp_path / 'other place', *OPTIONS)
    assert 'nothing to do' in capsys.readouterr().out and paths(gallery) == before
    source = read_gallery_source(gallery)
    assert {item.path: item.file for item in source.images.items}['phone:plain/plain0.png'] == (
        f'{tmp_path}/other place/plain/plain0.png'
    )
