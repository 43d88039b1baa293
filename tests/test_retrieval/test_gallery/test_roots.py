"""Named roots: from the path of a row to its file and back, names, folders that have moved."""

import json
import os

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.gallery import Record, Roots, create_gallery, move_roots, open_gallery, parse_roots, store_roots
from retrieval.gallery.database import FORMAT

ROOTS = Roots({'': '/photos', 'phone': '/mnt/phone', 'inner': '/photos/old/inner'})


@pytest.mark.parametrize(
    ('file', 'path'),
    [
        ('/photos/wren/1.jpg', 'wren/1.jpg'),
        ('/mnt/phone/wren/1.jpg', 'phone:wren/1.jpg'),
        ('/photos/old/1.jpg', 'old/1.jpg'),
        ('/photos/old/inner/a:b/1.jpg', 'inner:a:b/1.jpg'),
        ('/photos/phone:wren/1.jpg', './phone:wren/1.jpg'),
        ('/photos/camera:wren/1.jpg', 'camera:wren/1.jpg'),
        ('/photos2/1.jpg', '/photos2/1.jpg'),
        ('s3://bucket/1.jpg', 's3://bucket/1.jpg'),
    ],
)
def test_a_file_has_one_path_and_a_path_one_file(file, path):
    assert ROOTS.path(file) == path and ROOTS.file(path) == os.path.normpath(file).replace('s3:/', 's3://')
    assert Roots.of(ROOTS.to_origin()) == ROOTS


def test_paths_without_roots():
    assert (Roots({}).path('/a/1.jpg'), Roots({}).file('a/1.jpg'), ROOTS.file('')) == ('/a/1.jpg', 'a/1.jpg', '')


def test_what_reports_show():
    assert [ROOTS.shown(one) for one in ('/photos', '/mnt/phone', '/mnt/phone/x.csv', '/etc/x.csv')] == [
        *('photos', 'phone', 'phone:x.csv', 'x.csv')
    ]


def test_folders_that_are_reached_through_links(tmp_path):
    (tmp_path / 'photos' / 'a').mkdir(parents=True)
    (tmp_path / 'photos' / 'a' / '1.jpg').write_bytes(b'')
    (tmp_path / 'link').symlink_to(tmp_path / 'photos' / 'a')
    (tmp_path / 'photos' / '2.jpg').symlink_to('/somewhere/else.jpg')
    roots = Roots({'': str(tmp_path / 'photos')})
    assert roots.path(f'{tmp_path}/link/1.jpg') == 'a/1.jpg' and roots.path(f'{tmp_path}/photos/2.jpg') == '2.jpg'
    assert roots.canonical(f'{tmp_path}/link') == f'{tmp_path}/photos/a' and roots.holds(f'{tmp_path}/link')


def test_names_of_new_folders():
    roots = Roots({}).with_folder('/a/photos')
    for folder in ('/b/phone', '/c/phone', '/d/x', '/e/a:b=c'):
        roots = roots.with_folder(folder)
    assert list(roots.folders) == ['', 'phone', 'phone-2', 'root-x', 'a_b_c']
    assert roots.used(['phone-2:1.jpg', '2.jpg'], Roots({})).folders == {'': '/a/photos', 'phone-2': '/c/phone'}


@pytest.mark.parametrize(
    ('name', 'folder', 'words'),
    [
        ('phone', '/x', 'phone is the root /mnt/phone already: choose another name, or if it has moved, correct it'),
        ('x', '/x', "a root cannot be called 'x': write NAME=DIR, NAME of two characters or more"),
        ('a:b', '/x', "a root cannot be called 'a:b'"),
        ('a/b', '/x', "a root cannot be called 'a/b'"),
        ('', '/x', "a root cannot be called ''"),
        ('camera', '/mnt/phone/camera', '/mnt/phone/camera belongs to the root /mnt/phone, in'),
        ('camera', '/photos/camera', '/photos/camera belongs to the root /photos, in'),
    ],
)
def test_names_and_folders_that_are_refused(name, folder, words):
    with pytest.raises(RetrievalError) as error:
        ROOTS.named(name, folder)
    assert str(error.value).startswith(words)


def test_words_of_a_command_line():
    assert parse_roots(['/x', 'phone=/a=b']) == {'': '/x', 'phone': '/a=b'}
    assert parse_roots(['./a=b']) == {'': './a=b'}
    for words in (['a', 'b'], ['phone='], ['']):
        with pytest.raises(RetrievalError, match='give each root once'):
            parse_roots(words)


@pytest.fixture(params=['folder', 'milvus'])
def location(request, tmp_path):
    """A gallery of two roots, in each of which is one photo."""
    for name in ('photos/a/1.jpg', 'phone/b/1.jpg'):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b'')
    place = tmp_path / 'gallery' if request.param == 'folder' else f'milvus://{tmp_path}/roots.db/gallery'
    origin = dict(root=str(tmp_path / 'photos'), sources=json.dumps([str(tmp_path / 'photos' / 'a')]))
    with create_gallery(place, 2, origin=origin) as gallery:
        store_roots(gallery, Roots.of(origin).with_folder(str(tmp_path / 'phone')))
        gallery.add(np.eye(2, dtype=np.float32), [Record('a/1.jpg'), Record('phone:b/1.jpg')])
        assert [Roots.of(gallery.manifest.origin).file(one.path) for one in gallery.records(gallery.ids())] == [
            *(f'{tmp_path}/photos/a/1.jpg', f'{tmp_path}/phone/b/1.jpg')
        ]
    return place


def test_roots_that_have_moved(location, tmp_path):
    for name in ('photos', 'phone'):
        (tmp_path / name).rename(tmp_path / f'{name}2')
    moves = {'': tmp_path / 'photos2', 'phone': tmp_path / 'phone2'}
    with open_gallery(location) as reader:
        assert len(move_roots(reader, moves, dry_run=True)) == 2
        with pytest.raises(RetrievalError, match='was opened for reading'):
            move_roots(reader, moves)
        with open_gallery(location, writable=True) as gallery:
            sentences = move_roots(gallery, moves)
            assert sentences[1] == f'root phone: {tmp_path}/phone -> {tmp_path}/phone2'
            assert move_roots(gallery, moves) == []
        reader.refresh()
        origin = reader.manifest.origin
        assert all(os.path.exists(Roots.of(origin).file(one.path)) for one in reader.records(reader.ids()))
        assert json.loads(origin['sources']) == [f'{tmp_path}/photos2/a']


def test_moves_that_are_refused(location, tmp_path):
    with open_gallery(location, writable=True) as gallery:
        for moves, words in [
            ({'phones': tmp_path}, "has no root 'phones', but phone: correct the name"),
            ({'phone': tmp_path / 'nowhere'}, 'nowhere is no folder'),
            ({'phone': tmp_path}, 'has no photo of the root phone, such as b/1.jpg'),
            (tmp_path, 'has no photo of the root that is the default, such as a/1.jpg'),
            ({'phone': tmp_path / 'photos'}, 'photos is the root that is the default already'),
        ]:
            with pytest.raises(RetrievalError, match=words):
                move_roots(gallery, moves)
        with pytest.raises(RetrievalError, match=f'root phone is {tmp_path}/phone by now'):
            store_roots(gallery, Roots({'phone': str(tmp_path)}))
        gallery.add(np.eye(2, dtype=np.float32), [Record('cam:1.jpg'), Record('camera/1.jpg')])
        with pytest.raises(RetrievalError, match='rows of the gallery have paths that begin with "cam:"'):
            store_roots(gallery, Roots({'cam': str(tmp_path)}))


def test_versions_that_know_one_root_refuse_several(tmp_path):
    from retrieval.gallery.database import DATABASE_FILE, Database

    with create_gallery(tmp_path / 'gallery', 2):
        pass
    database = Database(tmp_path / 'gallery' / DATABASE_FILE, writable=True)
    with database.transaction():
        database.write_meta({'format_version': 1})
    database.close()
    with open_gallery(tmp_path / 'gallery', writable=True) as gallery:
        assert gallery.manifest.format_version == 1
        store_roots(gallery, Roots({'phone': str(tmp_path)}))
        assert gallery.manifest.format_version == FORMAT > 1
