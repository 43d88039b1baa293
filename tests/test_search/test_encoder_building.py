"""Galleries from images: what they hold, and that a build goes on where it stopped."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from counting_model import press_ctrl_c, press_ctrl_c_before, write_photo, write_weights
from fresh_processes import run_tool
from mmengine.config import Config
from PIL import Image
from tiny_run import call_tool

from glsim_mm.search import Encoder, ImageSearch, build_gallery, find_items, format_report
from glsim_mm.search.shards import BuildFolder
from retrieval.class_metric import fit_metric, learn_metric
from retrieval.errors import UserError
from retrieval.gallery import folder_writer, open_gallery
from retrieval.gallery.database import Database
from retrieval.held_out import Labeled
from retrieval.whitening import Whitening, add_views

QUIET = dict(device='cpu', num_workers=0, progress=False)
STEPWISE = dict(batch_size=1, seconds_between_commits=0.0)  # every photo is committed, for builds that are stopped


@pytest.fixture
def build(tiny_model, photos, tmp_path):
    """Builds a gallery of the photos."""

    def run(images=photos, location=tmp_path / 'gallery', **options):
        return build_gallery(images, *tiny_model[:2], location, **QUIET, **options)

    return run


def test_a_gallery_holds_what_the_encoder_gives(build, tiny_model, photos, tmp_path):
    report = build(keep_patches=True, preset='flat')
    encoder = Encoder(*tiny_model[:2], device='cpu', keep_patches=True)
    items = find_items(photos).items
    expected = encoder.encode([item.file for item in items])
    with open_gallery(tmp_path / 'gallery', expect=encoder.fingerprint) as gallery:
        ids = gallery.ids()
        assert len(gallery) == report.size == report.encoded == 10
        assert list(gallery.manifest.spaces) == ['global', 'aggregated', 'crop'] == list(report.spaces)
        assert 'searched by default: global, which finds classes that were not trained' in format_report(report)
        records = gallery.records(ids)
        for space, array in expected.embeddings.items():
            unit = array / np.linalg.norm(array, axis=1, keepdims=True)
            np.testing.assert_allclose(gallery.vectors(ids, space), unit, atol=1e-4)
        np.testing.assert_allclose(gallery.patches(ids), expected.patches, atol=1e-2)
        origin = gallery.manifest.origin
    assert [record.path for record in records] == [item.path for item in items]
    assert [record.label for record in records] == [None] * 4 + ['a'] * 3 + ['b'] * 3
    for record, other in zip(records, expected.records):
        assert tuple(record.image_size) == (48, 40) and record.content_hash == other.content_hash
        np.testing.assert_allclose(record.box, other.box)
        np.testing.assert_allclose(record.map_area, (0, 0, 48, 40), atol=1e-3)
        np.testing.assert_array_equal(record.similarity_map, other.similarity_map)
        np.testing.assert_allclose(record.patch_boxes, other.patch_boxes)
    assert origin['root'] == str(photos) and origin['config'] == str(tiny_model[0])
    assert report.preset == 'flat' and not report.unreadable and report.images_per_second > 0
    assert not (tmp_path / 'gallery.parts').exists()


def test_a_stopped_build_goes_on(build, counter, tmp_path):
    counter.stop_before, counter.stop = 1 + 6, press_ctrl_c  # one pass finds the dimensions
    with pytest.raises(KeyboardInterrupt):
        build(**STEPWISE)
    assert not (tmp_path / 'gallery').exists()
    encoded = counter.count - 1
    assert encoded == 6
    counter.stop_before = None
    counter.count = 0
    report = build()
    # The batch that was stopped and the one before it, which had not been handed out, come again.
    assert (report.reused, report.encoded) == (5, 5) and counter.count == 1 + 5
    with open_gallery(tmp_path / 'gallery') as gallery:
        assert len(gallery) == 10


@pytest.mark.parametrize(
    'owner, name', [(Database, 'write_records'), (folder_writer, 'choose_preset'), (BuildFolder, 'finish')]
)
def test_ctrl_c_in_the_last_commit_and_while_shards_are_merged_keeps_what_was_encoded(
    build, tmp_path, monkeypatch, owner, name
):
    with monkeypatch.context() as patch:
        press_ctrl_c_before(patch, owner, name)
        with pytest.raises(KeyboardInterrupt):
            build()
    report = build()
    assert (report.encoded, report.reused, report.size) == (0, 10, 10)


KILLED = """
import sys
import glsim_mm
from counting_model import CountingViT, kill_dash_nine
from glsim_mm.search import build_gallery
CountingViT.stop_before, CountingViT.stop = 1 + 7, kill_dash_nine
images, config, checkpoint, location, seconds = sys.argv[1:6]
build_gallery(images, config, checkpoint, location, batch_size=1, num_workers=1, device='cpu',
              seconds_between_commits=float(seconds))
"""


@pytest.mark.slow
def test_a_killed_build_goes_on(build, counter, tiny_model, photos, tmp_path):
    (tmp_path / 'killed.py').write_text(KILLED)
    result = run_tool(tmp_path / 'killed.py', photos, *tiny_model[:2], tmp_path / 'gallery', 0.0, cwd=tmp_path)
    assert result.returncode == -9, result.stderr
    assert not (tmp_path / 'gallery').exists()
    report = build()
    assert (report.reused, report.encoded) == (6, 4) and counter.count == 1 + 4
    with open_gallery(tmp_path / 'gallery') as gallery:
        assert len(gallery) == 10 and len(set(gallery.find_hashes(hashes_of(gallery)))) == 10


def hashes_of(gallery) -> list[str]:
    return [record.content_hash for record in gallery.records(gallery.ids())]


def test_files_that_come_change_and_go_between_runs(build, counter, photos, tmp_path):
    counter.stop_before, counter.stop = 1 + 10, press_ctrl_c
    write_photo(photos / 'z.png', np.random.default_rng(50))
    with pytest.raises(KeyboardInterrupt):
        build(**STEPWISE)
    counter.stop_before = None
    (photos / '0.png').unlink()
    (photos / '1.png').rename(photos / 'b' / 'renamed.png')
    write_photo(photos / '2.png', np.random.default_rng(51))
    report = build()
    with open_gallery(tmp_path / 'gallery') as gallery:
        records = gallery.records(gallery.ids())
        assert sorted(record.path for record in records) == sorted(
            path.relative_to(photos).as_posix() for path in photos.rglob('*.png')
        )
        assert {record.label for record in records if 'renamed' in record.path} == {'b'}
        assert len(set(hashes_of(gallery))) == 10
    assert (report.reused, report.encoded) == (7, 3)


def test_copies_of_one_photo_have_a_row_each(build, photos, tmp_path):
    shutil.copy(photos / '0.png', photos / 'a' / 'copy.png')
    assert build().size == 11


def test_unreadable_images_are_listed(build, photos, tmp_path):
    (photos / 'a' / 'broken.jpg').write_bytes(b'no image')
    (photos / 'empty.png').write_bytes(b'')
    report = build()
    assert report.size == 10
    assert [(error.path, bool(error.reason)) for error in report.unreadable] == [
        ('a/broken.jpg', True),
        ('empty.png', True),
    ]


def test_no_image_can_be_read(build, tmp_path):
    folder = tmp_path / 'broken'
    folder.mkdir()
    (folder / 'a.png').write_bytes(b'no image')
    with pytest.raises(UserError, match=r'none of the 1 images can be read; the first, a.png'):
        build(folder)
    assert not (tmp_path / 'gallery').exists()


def test_a_gallery_that_is_there(build, photos, tmp_path):
    build()
    with pytest.raises(UserError, match='is a gallery already: add images'):
        build()
    write_photo(photos / 'new.png', np.random.default_rng(60))
    assert build(overwrite=True).size == 11
    (tmp_path / 'notes').mkdir()
    (tmp_path / 'notes' / 'a.txt').write_text('mine')
    with pytest.raises(UserError, match='exists and is no gallery'):
        build(location=tmp_path / 'notes', overwrite=True)
    assert (tmp_path / 'notes' / 'a.txt').read_text() == 'mine'


def test_an_old_gallery_stays_until_the_new_one_is_whole(build, counter, photos, tmp_path):
    build()
    write_photo(photos / 'new.png', np.random.default_rng(60))
    counter.count = 0
    counter.stop_before, counter.stop = 1 + 3, press_ctrl_c
    with pytest.raises(KeyboardInterrupt):
        build(overwrite=True, **STEPWISE)
    with open_gallery(tmp_path / 'gallery') as gallery:
        assert len(gallery) == 10
    # A kill between the two steps of the replacement: the old gallery waits beside its place.
    (tmp_path / 'gallery' / 'being-replaced').touch()
    (tmp_path / 'gallery').rename(tmp_path / 'gallery.replaced')
    counter.stop_before = None
    with pytest.raises(UserError, match='is a gallery already'):
        build()
    with open_gallery(tmp_path / 'gallery') as gallery:
        assert len(gallery) == 10
    assert build(overwrite=True).size == 11


def test_an_unfinished_build_of_another_model(build, counter, tiny_model, photos, tmp_path):
    counter.stop_before, counter.stop = 1 + 4, press_ctrl_c
    with pytest.raises(KeyboardInterrupt):
        build(**STEPWISE)
    counter.stop_before = None
    other = write_weights(tiny_model[0], tmp_path / 'other.pth', seed=1)
    with pytest.raises(UserError, match='unfinished build with another model: finish it'):
        build_gallery(photos, tiny_model[0], other, tmp_path / 'gallery', **QUIET)
    for options, name in [(dict(spaces=['global']), 'spaces'), (dict(metric='l2'), 'metric')]:
        with pytest.raises(UserError, match=f'another {name}'):
            build(**options)
    assert build().reused == 3


def test_one_build_at_a_time(build, tmp_path):
    with BuildFolder(tmp_path / 'gallery').hold(overwrite=False):
        with pytest.raises(UserError, match=r'gallery.parts is being written by process \d+'):
            build()
    assert build().size == 10


def test_what_kills_leave_behind_is_cleared_away(build, tmp_path):
    # While shards were merged, while a shard was made, and before a shard had a database.
    for name in ('merged/gallery.sqlite', 'shard-00000.new-7/gallery.sqlite', 'shard-00000/write.lock'):
        path = tmp_path / 'gallery.parts' / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b'half')
    assert build().size == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ['gallery', 'photos']


def test_whitening(build, tiny_model, photos, tmp_path):
    report = build(whiten=4, spaces=['global', 'crop'])
    assert report.spaces == {'global': 4, 'crop': 4}
    encoded = Encoder(*tiny_model[:2], device='cpu').encode(photos)
    expected = Whitening.fit(encoded.embeddings['global'], 4).apply(encoded.embeddings['global'])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    with open_gallery(tmp_path / 'gallery') as gallery:
        found = gallery.vectors(gallery.ids(), 'global')
        np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-2)
        hits = gallery.search({'global': encoded.embeddings['global']}, 1, space='global')
        assert hits.ids[:, 0].tolist() == gallery.ids().tolist()
    with pytest.raises(UserError, match='1 to 32 dimensions'):
        build(location=tmp_path / 'other', whiten=33)
    with pytest.raises(UserError, match='needs more than 10 embeddings'):
        build(location=tmp_path / 'other', whiten=10)


@pytest.mark.parametrize('space', [None, 'global+crop'])
def test_a_metric_from_labels(build, tiny_model, tmp_path, space):
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (6, 3))
    for number in range(24):
        colour = colours[number // 4]
        folder = tmp_path / 'kinds' / f'class {number // 4}'
        folder.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(-40, 40, (40, 48, 1)) * rng.random()
        Image.fromarray(np.clip(colour + noise, 0, 255).astype(np.uint8)).save(folder / f'{number}.png')
    report = build(tmp_path / 'kinds', metric_from='labels', metric_space=space, spaces=['crop', 'global'])
    name, sources = ('fused-metric', ['global', 'crop']) if space else ('crop-metric', ['crop'])
    assert report.learned in format_report(report)
    assert f'{name}: learned from 24 rows of 6 classes' in report.learned
    encoded = Encoder(*tiny_model[:2], device='cpu').encode(tmp_path / 'kinds')
    labels = [Path(record.path).parent.name for record in encoded.records]
    expected = learn_metric(Labeled(add_views([encoded.embeddings[one] for one in sources]), labels), sources)
    with open_gallery(tmp_path / 'gallery') as gallery:
        assert list(gallery.manifest.spaces) == ([expected.space] if expected.gains else []) + ['crop', 'global']
    with open_gallery(tmp_path / 'gallery', writable=True) as gallery:
        kept = fit_metric(gallery, space, force=True)
        np.testing.assert_allclose(kept.transform.matrix, expected.transform.matrix, atol=1e-3)
    with ImageSearch.open(tmp_path / 'gallery', *tiny_model[:2], device='cpu', writable=True) as search:
        for result in search(tmp_path / 'kinds', 1):
            assert result.hits[0].score == pytest.approx(1, abs=1e-4)
        write_photo(tmp_path / 'new.png', rng)
        assert search.add(tmp_path / 'new.png', num_workers=0, progress=False).encoded == 1
        (found,) = search(tmp_path / 'new.png', 1)
        assert found.hits[0].record.path.endswith('new.png') and found.hits[0].score == pytest.approx(1, abs=1e-4)


def test_a_folder_is_encoded_to_choose_among_all_views(tiny_model, tmp_path, capsys):
    config, checkpoint, photos = tiny_model
    model = ['--config', config, '--checkpoint', checkpoint, '--device', 'cpu', '--num-workers', 0]
    with pytest.raises(SystemExit):
        call_tool('retrieval/choose', photos, '--out', tmp_path / 'gallery', *model)
    assert 'comparing takes 5 classes of two photos or more' in capsys.readouterr().err.splitlines()[-1]
    with open_gallery(tmp_path / 'gallery') as gallery:
        assert set(gallery.manifest.spaces) == {'aggregated', 'global', 'crop', 'centre'}


def test_a_metric_needs_labels(build, photos, tmp_path):
    with pytest.raises(UserError, match='there are 0: give more photos their labels'):
        build(sorted(photos.glob('*.png')), metric_from='labels')
    with pytest.raises(UserError, match='and not labels with whiten'):
        build(metric_from='labels', whiten=4)
    with pytest.raises(UserError, match="metric_space with metric_from='labels'"):
        build(metric_space='global')
    with pytest.raises(UserError, match="has no space 'centre'"):
        build(metric_from='labels', metric_space='global+centre')
    assert not (tmp_path / 'gallery').exists() and not (tmp_path / 'gallery.parts').exists()
    report = build(metric_from='labels')
    assert 'testing it takes 5 classes or more' in report.learned and list(report.spaces)[0] == 'global'


def test_data_set_of_the_config(build, tiny_model, tmp_path):
    report = build(None, dataset='test')
    assert report.size == 8
    with open_gallery(tmp_path / 'gallery') as gallery:
        records = gallery.records(gallery.ids())
        assert {(record.label, record.split) for record in records} == {('plain', 'test'), ('striped', 'test')}
        assert all(record.path.split('/')[-2] == record.label for record in records)
    root = tiny_model[2].parent
    build(None, tmp_path / 'other', dataset='test', root=root)
    with open_gallery(tmp_path / 'other') as gallery:
        assert gallery.manifest.origin['root'] == str(root)
        for record, other in zip(gallery.records(gallery.ids()), records, strict=True):
            assert (record.label, record.split) == (other.label, 'test') and (root / record.path).is_file()


def test_wrong_options(build, tiny_model, photos, tmp_path):
    for arguments, message in [
        (dict(metric='cos'), 'one of cosine, ip, l2'),
        (dict(images=None), 'either images or the name'),
        (dict(dataset='test'), 'either images or the name'),
        (dict(images=None, dataset='all'), 'one of train, val, test'),
        (dict(images=tmp_path / 'nowhere'), 'does not exist'),
        (dict(spaces=['head']), 'some of global, aggregated'),
    ]:
        with pytest.raises(UserError, match=message):
            build(**arguments)
    assert not (tmp_path / 'gallery.parts').exists()


def test_a_config_that_was_read_already(build, tiny_model, photos, tmp_path):
    cfg = Config.fromfile(tiny_model[0])
    build_gallery(photos, cfg, tiny_model[1], tmp_path / 'gallery', **QUIET)
    with open_gallery(tmp_path / 'gallery', expect=Encoder(*tiny_model[:2]).fingerprint) as gallery:
        assert len(gallery) == 10
