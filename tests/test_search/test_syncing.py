"""A gallery follows its photos: what moved, changed, came, went, or cannot be read."""

import json
import os
import shutil
from itertools import count

import numpy as np
import pytest
from counting_model import press_ctrl_c, write_photo
from mean_encoder import MeanEncoder
from PIL import Image

from glsim_mm.search import ImageSearch, build_gallery, format_sync, sync_gallery, sync_images, syncing
from retrieval.errors import UserError
from retrieval.gallery import Roots, create_gallery, open_gallery
from retrieval.migration import migrate

QUIET = dict(num_workers=0, progress=False)
_numbers = count()


@pytest.fixture(scope='module')
def built(tiny_model, tmp_path_factory):
    """Eight photos in a/ and b/ and two in no folder, and a gallery of them; tests get copies."""
    folder = tmp_path_factory.mktemp('sync')
    rng = np.random.default_rng(3)
    for name in ('a/0', 'a/1', 'a/2', 'a/3', 'b/0', 'b/1', 'b/2', 'b/deep/3', '0', '1'):
        write_photo(folder / 'photos' / f'{name}.png', rng)
    options = dict(QUIET, device='cpu', keep_patches=True, whiten=4)
    build_gallery(folder / 'photos', *tiny_model[:2], folder / 'gallery', **options)
    return folder


@pytest.fixture(scope='module')
def milvus_file(tmp_path_factory):
    return f'milvus://{tmp_path_factory.mktemp("milvus")}/sync.db'


@pytest.fixture
def photos(built, tmp_path):
    return shutil.copytree(built / 'photos', tmp_path / 'photos')


@pytest.fixture(params=['folder', 'milvus'])
def location(request, built, milvus_file, tmp_path):
    """A gallery in a folder, and the same in Milvus. Its origin is a folder that tests leave alone."""
    if request.param == 'folder':
        return shutil.copytree(built / 'gallery', tmp_path / 'gallery')
    address = f'{milvus_file}/gallery_{next(_numbers)}'
    migrate([built / 'gallery'], address)
    return address


@pytest.fixture
def gallery(location, built, photos, monkeypatch):
    """The gallery, whose photos were in ``photos`` from the beginning."""
    with open_gallery(location, writable=True) as opened:
        manifest = type(opened).manifest.fget

        def moved(self):
            about = manifest(self)
            about.origin.update(root=str(photos), sources=f'["{photos}"]')
            return about

        monkeypatch.setattr(type(opened), 'manifest', property(moved))
        yield opened


def no_model():
    raise AssertionError('nothing shall be encoded')


def rows(gallery) -> dict[str, tuple]:
    """Path -> id, label, content hash and metadata."""
    return {one.path: (one.id, one.label, one.content_hash, one.metadata) for one in gallery.records(gallery.ids())}


def sync(gallery, sources=None, encoder=no_model, **options):
    report = sync_images(gallery, encoder, sources, **{**QUIET, **options})
    if not options.get('dry_run') and options.get('missing') != 'keep':
        again = sync_images(gallery, no_model, sources, **QUIET, missing='keep', dry_run=True)
        assert again.is_idle, format_sync(again, details=True)
    return report


def paths(photos) -> list[str]:
    return sorted(one.path for one in photos)


def test_nothing_to_do(gallery, photos):
    before = gallery.manifest.generation
    report = sync(gallery)
    assert (report.photos, report.unchanged, report.elsewhere, report.is_idle) == (10, 10, 0, True)
    assert gallery.manifest.generation == before and 'nothing to do' in format_sync(report)


def test_photos_that_move_keep_their_rows(gallery, photos):
    """Renamed, into another class, out of all classes, and two that swap their places; the label can be undone."""
    before = rows(gallery)
    vectors = {space: gallery.vectors(gallery.ids(), space) for space in gallery.manifest.spaces}
    (photos / 'c').mkdir()
    for old, new in [('a/0', 'a/new'), ('a/1', 'c/1'), ('b/0', '2'), ('0', 'tmp'), ('1', '0'), ('tmp', '1')]:
        (photos / f'{old}.png').rename(photos / f'{new}.png')
    plan = sync(gallery, dry_run=True)
    assert rows(gallery) == before and len(plan.moved) == 5
    assert '  a/1.png -> c/1.png (a -> c)' in format_sync(plan, details=True)
    report = sync(gallery)
    assert plan.moved == report.moved and (report.unchanged, report.encoded) == (5, 0)
    after = rows(gallery)
    moved = {'a/new': ('a/0', 'a'), 'c/1': ('a/1', 'c'), '2': ('b/0', None), '0': ('1', None), '1': ('0', None)}
    for new, (old, label) in moved.items():
        assert after[f'{new}.png'] == (before[f'{old}.png'][0], label, *before[f'{old}.png'][2:])
    for space, values in vectors.items():
        np.testing.assert_array_equal(gallery.vectors(gallery.ids(), space), values)
    last = gallery.history()[-1]
    assert (last.by, last.rows, last.columns) == ('sync', 5, {'path': 5, 'label': 2})
    gallery.undo(last.number)
    assert rows(gallery) == before


def test_changed_and_new_photos_go_through_the_model(gallery, photos, encoder_of, counter):
    before = rows(gallery)
    encoder = encoder_of(gallery)
    write_photo(photos / 'a' / '0.png', np.random.default_rng(31))
    write_photo(photos / 'c' / 'new.png', np.random.default_rng(32))
    shutil.copy(photos / 'c' / 'new.png', photos / 'c' / 'copy.png')
    counter.count = 0
    report = sync(gallery, encoder=lambda: encoder)
    assert counter.count == report.encoded == 2
    assert (paths(report.changed), paths(report.added), paths(report.copies)) == (
        ['a/0.png'], ['c/copy.png'], ['c/new.png']
    )  # fmt: skip
    after = rows(gallery)
    assert after['a/0.png'][:2] == before['a/0.png'][:2] and after['a/0.png'][2] != before['a/0.png'][2]
    assert after['c/copy.png'][1] == 'c' and len(after) == 11
    encoded = encoder.encode(photos / 'a' / '0.png')
    expected = gallery.transform(encoded.embeddings['crop'], 'crop')
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(gallery.vectors([after['a/0.png'][0]], 'crop'), expected, atol=1e-4)
    np.testing.assert_allclose(gallery.patches([after['a/0.png'][0]]), encoded.patches, atol=1e-2)


@pytest.fixture
def encoder_of():
    from glsim_mm.search import encoder_for

    return lambda gallery: encoder_for(gallery, device='cpu')


def test_lost_photos(gallery, photos):
    before = rows(gallery)
    (photos / 'a' / '0.png').unlink()
    shutil.rmtree(photos / 'b' / 'deep')
    report = sync(gallery, missing='keep')
    assert paths(report.kept) == ['a/0.png', 'b/deep/3.png'] and rows(gallery) == before
    report = sync(gallery, missing='flag')
    assert paths(report.flagged) == ['a/0.png', 'b/deep/3.png'] and len(gallery) == 10
    flagged = gallery.ids({'missing_since': ('>', '2020')})
    assert {one.path for one in gallery.records(flagged)} == {'a/0.png', 'b/deep/3.png'}
    assert paths(sync(gallery, missing='flag').kept) == ['a/0.png', 'b/deep/3.png']  # the first date counts
    assert gallery.ids({'missing_since': ('>', '2020')}).tolist() == flagged.tolist()

    (photos / 'b' / 'deep').mkdir()  # an empty folder is no reason to doubt that one photo was deleted
    report = sync(gallery)
    assert paths(report.removed) == ['a/0.png', 'b/deep/3.png']
    assert set(rows(gallery)) == before.keys() - {'a/0.png', 'b/deep/3.png'}


def test_a_photo_that_is_back_loses_its_flag(gallery, photos):
    (photos / 'a' / '0.png').rename(photos.parent / 'away.png')
    assert len(sync(gallery, missing='flag').flagged) == 1
    (photos.parent / 'away.png').rename(photos / 'b' / 'back.png')
    report = sync(gallery, missing='flag')
    assert paths(report.moved) == ['b/back.png'] and len(gallery.ids({'missing_since': None})) == 10
    assert rows(gallery)['b/back.png'][1] == 'b'


def test_content_in_two_classes(gallery, photos):
    before = rows(gallery)
    shutil.copy(photos / 'a' / '0.png', photos / 'b' / 'zero.png')
    shutil.copy(photos / 'a' / '0.png', photos / 'b' / 'zero again.png')
    report = sync(gallery)
    assert (
        report.encoded == 0 and paths(report.added) == ['b/zero again.png'] and paths(report.copies) == ['b/zero.png']
    )
    assert '  a: a/0.png; b: b/zero again.png, b/zero.png' in format_sync(report).splitlines()
    after = rows(gallery)
    assert after['b/zero again.png'][1:3] == ('b', before['a/0.png'][2])
    ids = [after['a/0.png'][0], after['b/zero again.png'][0]]
    for space in gallery.manifest.spaces:
        first, second = gallery.vectors(ids, space)
        np.testing.assert_allclose(first, second, atol=1e-6)  # unit length is made once more
    np.testing.assert_array_equal(*gallery.patches(ids))
    maps = [one.similarity_map for one in gallery.records(ids)]
    np.testing.assert_array_equal(*maps)
    report = sync_images(gallery, no_model, contradictions='drop', **QUIET)
    assert paths(report.removed) == ['a/0.png', 'b/zero again.png'] and len(report.contradictions) == 1
    assert set(rows(gallery)) == before.keys() - {'a/0.png'}


def test_unreadable_photos_keep_their_rows(gallery, photos, encoder_of):
    before = rows(gallery)
    (photos / 'a' / '0.png').write_bytes(b'no image')  # can be read, but not decoded
    (photos / 'a' / '1.png').unlink()
    (photos / 'a' / '1.png').symlink_to('a disk that is gone')
    (photos / 'broken.png').write_bytes(b'nor this')
    report = sync_images(gallery, lambda: encoder_of(gallery), **QUIET)
    assert paths(report.unreadable) == ['a/0.png', 'broken.png'] and paths(report.kept) == ['a/1.png']
    assert report.kept[0].reason == 'unreachable: a link that leads nowhere' and rows(gallery) == before
    assert sync_images(gallery, no_model, missing='remove', dry_run=True, **QUIET).removed == []


@pytest.mark.parametrize('location', ['folder'], indirect=True)
def test_photos_that_may_not_be_read(gallery, photos, monkeypatch):
    """Root may read everything, so that the system's answer is put in place."""
    from glsim_mm.images import photos as reading

    read = reading.Path.read_bytes

    def refuse(path):
        if path.name == '0.png':
            raise PermissionError(13, 'Permission denied')
        return read(path)

    before = rows(gallery)
    monkeypatch.setattr(reading.Path, 'read_bytes', refuse)
    report = sync(gallery)
    assert [(one.path, one.reason) for one in report.unreadable] == [
        (name, 'Permission denied') for name in ('0.png', 'a/0.png', 'b/0.png')
    ]
    assert rows(gallery) == before
    monkeypatch.setattr(reading.Path, 'read_bytes', lambda path: refuse(path.with_name('0.png')))
    with pytest.raises(UserError, match='none of the 10 photos of .* can be read; nothing was changed: mount its disk'):
        sync(gallery)


@pytest.mark.parametrize('location', ['folder'], indirect=True)
def test_a_disk_that_is_gone_empties_no_gallery(gallery, photos, tmp_path):
    before = rows(gallery)
    photos.rename(tmp_path / 'away')
    with pytest.raises(UserError, match='photos is not there; nothing was changed: mount its disk'):
        sync(gallery)
    (photos / 'a').mkdir(parents=True)  # the place where a disk would be mounted
    with pytest.raises(UserError, match='there is no image in .*; nothing was changed: if .*photos is on a disk'):
        sync(gallery, missing='remove')
    (tmp_path / 'empty.csv').write_text('path\n')
    for wrong, words in [
        (tmp_path / 'empty.csv', 'nothing was changed'),
        ('s3://bucket/photos', 's3://bucket/photos is an address, .*: glsim add takes what is new there'),
        (tmp_path / 'away' / '0.png', 'is no folder'),
    ]:
        with pytest.raises(UserError, match=words):
            sync(gallery, wrong)
    assert rows(gallery) == before


@pytest.mark.parametrize('location', ['folder'], indirect=True)
def test_large_losses_are_doubted(gallery, photos, monkeypatch):
    from glsim_mm.search import sync_sources

    monkeypatch.setattr(sync_sources, 'MANY', 3)
    for file in (photos / 'a').iterdir():
        file.unlink()
    report = sync(gallery, missing=None, dry_run=True)
    assert {one.reason for one in report.kept} == {'its folder is empty: a disk that is not mounted?'}
    assert len(report.kept) == 4 and not report.removed
    shutil.rmtree(photos / 'a')
    assert len(sync(gallery, dry_run=True).removed) == 4
    shutil.rmtree(photos / 'b')
    report = sync(gallery, dry_run=True)
    assert len(report.kept) == 8 and 'more than half of all' in report.kept[0].reason
    assert len(sync(gallery, missing='remove').removed) == 8 and len(gallery) == 2


def test_a_table_says_labels_and_metadata(gallery, photos):
    before = rows(gallery)
    (photos / 'a' / '1.png').rename(photos / 'moved.png')
    lines = ['path,label,split,Scientific Name', 'a/0.png,Wren,train,Troglodytes', 'a/2.png,,,', 'moved.png,Robin,val,']
    (photos / 'birds.csv').write_text('\n'.join([*lines, 'b/gone.png,Kite,,']))
    report = sync_images(gallery, no_model, photos / 'birds.csv', **QUIET)
    after = rows(gallery)
    assert after['a/0.png'] == (
        *before['a/0.png'][:1],
        'Wren',
        before['a/0.png'][2],
        {'Scientific Name': 'Troglodytes'},
    )
    assert after['moved.png'][:2] == (before['a/1.png'][0], 'Robin') and after['a/2.png'] == before['a/2.png']
    assert gallery.records([after['moved.png'][0]])[0].split == 'val'
    assert (paths(report.described), paths(report.moved), report.encoded) == (['a/0.png'], ['moved.png'], 0)
    assert [(one.path, one.reason) for one in report.unreadable] == [('b/gone.png', 'is not there')]
    assert len(report.kept) == 7 and {one.reason for one in report.kept} == {'not listed any more'}
    again = sync_images(gallery, no_model, [photos, photos / 'birds.csv'], **QUIET)  # the table comes first
    assert again.is_idle and rows(gallery) == after
    assert len(sync_images(gallery, no_model, photos / 'birds.csv', missing='remove', **QUIET).removed) == 7
    assert set(rows(gallery)) == {'a/0.png', 'a/2.png', 'moved.png'}


def test_a_photo_moves_before_its_table_says_so(gallery, photos):
    """Its row waits, and keeps its id and what somebody said of it."""
    before = rows(gallery)
    (photos / 'birds.csv').write_text('path\n' + '\n'.join(before))
    gallery.set_labels([before['a/0.png'][0]], 'mine', by='me')
    (photos / 'a' / '0.png').rename(photos / 'b' / 'moved.png')
    report = sync(gallery, photos / 'birds.csv')
    assert [(one.path, one.reason) for one in report.kept] == [('a/0.png', 'listed, but not there')]
    (photos / 'birds.csv').write_text('path\nb/moved.png\n' + '\n'.join(path for path in before if path != 'a/0.png'))
    assert paths(sync(gallery, photos / 'birds.csv').moved) == ['b/moved.png']
    assert rows(gallery)['b/moved.png'][:2] == (before['a/0.png'][0], 'mine')
    (photos / 'b' / 'moved.png').unlink()
    assert paths(sync(gallery, photos / 'birds.csv', missing='remove').removed) == ['b/moved.png']


def test_a_table_elsewhere_leaves_rows_of_other_folders(gallery, photos, tmp_path):
    """A table's own photos are below the innermost folder that holds all that it lists."""
    (tmp_path / 'lists').mkdir()
    (tmp_path / 'lists' / 'birds.csv').write_text(f'path\n{photos}/b/0.png\n{photos}/b/deep/3.png\n')
    report = sync_images(gallery, no_model, tmp_path / 'lists' / 'birds.csv', **QUIET)
    assert (report.unchanged, report.elsewhere, paths(report.kept)) == (2, 6, ['b/1.png', 'b/2.png'])


def test_a_table_of_all_over_the_disk_owns_what_it_lists(gallery, photos, tmp_path, monkeypatch):
    monkeypatch.setattr('glsim_mm.search.sync_sources.common_folder', lambda items: os.path.abspath(os.sep))
    (tmp_path / 'lists').mkdir()
    (tmp_path / 'lists' / 'birds.csv').write_text(f'path\n{photos}/b/0.png\n')
    report = sync_images(gallery, no_model, tmp_path / 'lists' / 'birds.csv', **QUIET)
    assert (report.unchanged, report.elsewhere, report.kept) == (1, 9, [])


def test_others_may_write_while_photos_are_read(photos, tmp_path, monkeypatch):
    """What they write counts then, and so does what has changed on the disk."""
    encoder = MeanEncoder()
    origin = dict(root=str(photos), sources=json.dumps([str(photos)]))
    create_gallery(tmp_path / 'own', {'global': 48}, fingerprint=encoder.fingerprint, origin=origin).close()
    assert sync_gallery(tmp_path / 'own', encoder, **QUIET).encoded == 10
    (photos / 'a' / '0.png').rename(photos / 'a' / 'moved.png')
    read = syncing.read_photos

    def read_while_others_write(*args):
        found = read(*args)
        monkeypatch.setattr(syncing, 'read_photos', read)
        with open_gallery(tmp_path / 'own', writable=True) as other:
            other.set_labels(other.ids({'path': ['a/0.png', 'b/0.png']}), 'mine', by='somebody')
        write_photo(photos / 'b' / '0.png', np.random.default_rng(99))
        return found

    monkeypatch.setattr(syncing, 'read_photos', read_while_others_write)
    report = sync_gallery(tmp_path / 'own', encoder, **QUIET)
    assert (paths(report.moved), paths(report.changed), report.encoded) == (['a/moved.png'], ['b/0.png'], 1)
    with open_gallery(tmp_path / 'own') as own:
        assert sorted(one.path for one in own.records(own.ids({'label': 'mine'}))) == ['a/moved.png', 'b/0.png']


def test_labels_that_somebody_gave_stay(gallery, photos):
    ids = {path: row[0] for path, row in rows(gallery).items()}
    gallery.set_labels([ids['a/0.png'], ids['a/1.png'], ids['a/2.png']], ['mine', 'mine', None], by='me')
    (photos / 'a' / '0.png').rename(photos / 'a' / 'renamed.png')
    (photos / 'a' / '1.png').rename(photos / 'b' / 'other.png')
    sync(gallery)
    after = rows(gallery)
    assert [after[path][1] for path in ('a/renamed.png', 'b/other.png', 'a/2.png')] == ['mine', 'b', 'a']


def test_rows_of_other_folders_stay(gallery, photos, encoder_of, tmp_path):
    write_photo(tmp_path / 'other' / 'x' / 'far.png', np.random.default_rng(40))
    far = 'other:x/far.png'
    assert sync(gallery, tmp_path / 'other', encoder=lambda: encoder_of(gallery)).elsewhere == 10
    before = rows(gallery)
    assert far in before and Roots.of(gallery.manifest.origin).folders['other'] == str(tmp_path / 'other')
    # As galleries had it that knew one root alone.
    gallery.set_values([before[far][0]], {'path': str(tmp_path / 'other' / 'x' / 'far.png')})
    assert paths(sync(gallery, tmp_path / 'other').described) == [far] and rows(gallery) == before
    (photos / 'a' / '0.png').rename(photos / 'b' / 'new.png')
    shutil.copy(
        tmp_path / 'other' / 'x' / 'far.png', photos / 'a' / 'far too.png'
    )  # the same class counts, the same place does not
    report = sync(gallery, photos)
    assert (report.elsewhere, paths(report.moved), paths(report.added)) == (1, ['b/new.png'], ['a/far too.png'])
    assert rows(gallery)[far] == before[far]
    (tmp_path / 'other' / 'x' / 'far.png').unlink()
    (photos / 'a' / 'far too.png').rename(photos / 'a' / 'far.png')
    report = sync(gallery, photos)  # its own row moves; that of the other folder is none of its business
    assert paths(report.moved) == ['a/far.png'] and rows(gallery)[far] == before[far]


@pytest.mark.parametrize('location', ['folder'], indirect=True)
def test_a_folder_that_moved_as_a_whole(gallery, photos, tmp_path):
    before = rows(gallery)
    moved = photos.rename(tmp_path / 'elsewhere')
    report = sync(gallery, moved)
    assert len(report.moved) == 10 and report.elsewhere == 0
    assert {path: row[:3] for path, row in rows(gallery).items()} == {
        f'elsewhere:{path}': row[:3] for path, row in before.items()
    }


@pytest.mark.parametrize('location', ['folder'], indirect=True)
def test_a_stopped_sync_goes_on(gallery, photos, encoder_of, counter):
    (photos / 'a' / '0.png').rename(photos / 'b' / 'moved.png')
    (photos / 'a' / '1.png').unlink()
    for number in range(4):
        write_photo(photos / f'new{number}.png', np.random.default_rng(50 + number))
    encoder = encoder_of(gallery)
    counter.stop_before, counter.stop = counter.count + 2, press_ctrl_c
    with pytest.raises(KeyboardInterrupt):
        sync_images(gallery, encoder, batch_size=1, seconds_between_commits=0.0, **QUIET)
    counter.stop_before = None
    assert len(gallery) == 11 and 'b/moved.png' in rows(gallery) and 'a/1.png' in rows(gallery)
    report = sync(gallery, encoder=encoder)
    assert report.encoded == 3 and paths(report.removed) == ['a/1.png'] and len(gallery) == 13


@pytest.mark.parametrize('location', ['folder'], indirect=True)
def test_through_image_search(location, built, photos):
    shutil.rmtree(photos / 'b')
    with ImageSearch.open(location, with_model=False) as search:
        assert len(search.sync(photos, dry_run=True, progress=False).copies) == 6  # the gallery's own are elsewhere
        (photos / 'new.png').write_bytes(write_photo(photos / 'tmp.png', np.random.default_rng(8)).read_bytes())
        with pytest.raises(UserError, match='opened for reading: open it with writable=True'):
            search.sync(photos, progress=False)
    with ImageSearch.open(location, with_model=False, writable=True) as search:
        with pytest.raises(UserError, match='encoding images needs the model: give config and checkpoint'):
            search.sync(photos, progress=False)
        assert len(search.gallery) == 10


def test_a_gallery_of_unknown_folders(tmp_path):
    with create_gallery(tmp_path / 'own', 8) as own:
        with pytest.raises(UserError, match='does not say of which folder or table it was built: give it'):
            sync_images(own, no_model)
        for options in ({'missing': 'delete'}, {'contradictions': 'merge'}):
            with pytest.raises(UserError, match='must be one of'):
                sync_images(own, no_model, os.curdir, **options)


@pytest.mark.parametrize('location', ['folder'], indirect=True)
def test_a_column_of_another_type_is_told_before_anything_changes(gallery, photos):
    (photos / 'a' / '0.png').rename(photos / 'b' / 'moved.png')
    gallery.set_values(gallery.ids(), {'eggs': 3}, by='me')
    before = rows(gallery)
    (photos / 'table.csv').write_text('path,eggs\nb/moved.png,many\n')
    with pytest.raises(UserError, match="column eggs holds INTEGER, not 'many'"):
        sync(gallery, photos / 'table.csv')
    assert rows(gallery) == before


@pytest.mark.parametrize('location', ['folder'], indirect=True)
def test_what_is_left_out(gallery, photos, encoder_of):
    """Junk and excluded photos do not come in; rows of those that are there are kept until they shall be removed."""
    before = rows(gallery)
    (photos / '.thumbnails').mkdir()
    (photos / '@eaDir').mkdir()
    for junk in ('.thumbnails/1.png', '@eaDir/1.png', 'a/._0.png', 'drafts.png'):
        write_photo(photos / junk, np.random.default_rng(60))
    report = sync(gallery, photos, exclude=['drafts.png', 'b/deep'], missing='keep')
    assert rows(gallery) == before and len(report.left_out) == 5
    assert [(one.path, one.reason) for one in report.kept] == [('b/deep/3.png', 'not listed any more')]
    report = sync_images(gallery, no_model, photos, exclude=['drafts.png', 'b/deep'], missing='remove', **QUIET)
    assert paths(report.removed) == ['b/deep/3.png']


@pytest.mark.parametrize('location', ['folder'], indirect=True)
def test_a_folder_that_may_not_be_listed(gallery, photos, monkeypatch):
    """Root may list everything, so that the system's answer is put in place."""
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith('deep'):
            raise PermissionError(13, 'Permission denied')
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    report = sync(gallery, missing='remove')
    assert [(one.path, one.reason) for one in report.kept] == [('b/deep/3.png', 'unreachable: Permission denied')]
    assert len(gallery) == 10


@pytest.mark.parametrize('location', ['folder'], indirect=True)
def test_exif_of_new_photos(gallery, photos, encoder_of, tmp_path):
    exif = Image.Exif()
    exif[0x0110] = 'Camera'
    exif.get_ifd(0x8769)[0x9003] = '2024:13:01 12:00:00'
    Image.fromarray(np.full((40, 30, 3), 50, np.uint8)).save(photos / 'a' / 'new.jpg', exif=exif)
    shutil.copytree(photos / 'a', photos / 'c')  # the same photos in another class
    for path in (photos / 'c').glob('*.png'):
        path.unlink()
    report = sync(gallery, encoder=lambda: encoder_of(gallery), exif=True)
    assert rows(gallery)['a/new.jpg'][3] == rows(gallery)['c/new.jpg'][3] == {'camera': 'Camera'}
    assert (report.exif.photos, report.exif.filled, len(report.exif.wrong)) == (2, {'camera': 2}, 2)
    assert 'EXIF: taken of 0, camera of 2, latitude of 0, longitude of 0 of 2 photos; 2 impossible' in format_sync(
        report
    )
    report.write(tmp_path / 'report.json')
    assert json.loads((tmp_path / 'report.json').read_text())['exif']['filled'] == {'camera': 2}
