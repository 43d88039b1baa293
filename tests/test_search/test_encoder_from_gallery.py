"""The rows of a gallery, encoded by another model while the gallery serves."""

import numpy as np
import pytest
from counting_model import press_ctrl_c, write_photo, write_weights
from fresh_processes import run_tool
from tiny_run import call_tool

from glsim_mm.search import Encoder, build_gallery, find_items
from retrieval.errors import UserError
from retrieval.gallery import open_gallery

QUIET = dict(device='cpu', num_workers=0, progress=False)


@pytest.fixture
def old(tiny_model, photos, tmp_path):
    """A gallery with gaps in its ids, labels that no folder says, a split and metadata."""
    items = find_items(photos).items
    for number, item in enumerate(items):
        item.split, item.metadata = 'test', {'price': number / 2, 'code': f'00{number}'}
    build_gallery(items, *tiny_model[:2], tmp_path / 'old', root=photos, preset='flat', metric='ip', **QUIET)
    with open_gallery(tmp_path / 'old', writable=True) as gallery:
        gallery.remove([0, 4])
        gallery.set_labels([5], ['renamed'])
    return tmp_path / 'old'


@pytest.fixture
def other(tiny_model, tmp_path):
    """Another model."""
    return tiny_model[0], write_weights(tiny_model[0], tmp_path / 'other.pth', seed=1)


def encode(old, other, location, **options):
    return build_gallery(None, *other, location, source=old, **QUIET, **options)


def facts(gallery):
    return [
        (one.id, one.path, one.label, one.split, one.metadata, one.content_hash)
        for one in gallery.records(gallery.ids())
    ]


def test_rows_keep_ids_labels_and_metadata(old, other, photos, tmp_path, capsys):
    with open_gallery(old) as gallery:
        before, manifest = facts(gallery), gallery.manifest
    options = ('--device', 'cpu', '--num-workers', 0, '--no-progress', '--spaces', 'global', '--keep-patches')
    with open_gallery(old, writable=True):  # somebody may write to it
        call_tool('retrieval/build', *other, '--from', old, '--out', tmp_path / 'new', *options)
    assert 'rows: 8 of 8 taken over' in capsys.readouterr().out
    encoder = Encoder(*other, device='cpu', spaces=['global'], keep_patches=True)
    with open_gallery(old) as first, open_gallery(tmp_path / 'new', expect=encoder.fingerprint) as second:
        assert facts(second) == facts(first) == before and first.manifest == manifest
        assert second.history() == first.history() and len(second.history()) == 2
        assert second.changes() == first.changes()
        assert second.columns() == first.columns() and second.find_hashes([before[3][5]]) == {
            before[3][5]: before[3][0]
        }
        assert (second.manifest.preset, second.manifest.metric) == ('flat', 'ip')
        assert {name: second.manifest.origin[name] for name in ('root', 'sources')} == {
            name: first.manifest.origin[name] for name in ('root', 'sources')
        }
        expected = encoder.encode([photos / row[1] for row in before])
        np.testing.assert_allclose(second.vectors(second.ids()), expected.embeddings['global'], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(second.patches(second.ids()), expected.patches, atol=1e-2)


def test_whitening_preset_and_metric_may_be_others(old, other, tmp_path):
    encode(old, other, tmp_path / 'new', preset='hnsw', metric='cosine', whiten=3)
    with open_gallery(tmp_path / 'new') as gallery:
        manifest = gallery.manifest
        assert (manifest.preset, manifest.metric, set(manifest.spaces.values())) == ('hnsw', 'cosine', {3})
        assert set(gallery.transforms) == {'aggregated', 'global', 'crop'} and len(gallery) == 8


def test_photos_that_are_gone_or_changed_are_told(old, other, photos, tmp_path, capsys):
    with open_gallery(old) as gallery:
        records = gallery.records(gallery.ids())
    (photos / records[0].path).unlink()
    (photos / records[1].path).write_bytes(b'no photo')
    write_photo(photos / records[2].path, np.random.default_rng(70))
    call_tool('retrieval/build', *other, '--from', old, '--out', tmp_path / 'new', '--device', 'cpu', '--no-progress')
    printed = capsys.readouterr().out
    assert 'rows: 6 of 8 taken over; of the 2 left out, the photos of 1 are gone' in printed
    assert f'changed since: 1, encoded as they are now\n  {records[2].path}' in printed
    assert f'unreadable: 2, left out\n  {records[0].path}' in printed
    with open_gallery(tmp_path / 'new') as gallery:
        assert gallery.ids().tolist() == [record.id for record in records[2:]]
        assert gallery.records([records[2].id])[0].content_hash != records[2].content_hash
    for record in records:
        (photos / record.path).unlink(missing_ok=True)
    with pytest.raises(UserError, match='none of the 8 images can be read'):
        encode(old, other, tmp_path / 'none')


def test_photos_may_have_moved_with_their_folder(old, other, photos, tmp_path):
    photos.rename(tmp_path / 'moved')
    encode(old, other, tmp_path / 'new', root=tmp_path / 'moved')
    with open_gallery(old) as first, open_gallery(tmp_path / 'new') as second:
        assert facts(second) == facts(first) and second.manifest.origin['root'] == str(tmp_path / 'moved')


def test_what_is_written_meanwhile_is_told(old, other, tmp_path, counter):
    def relabel():
        with open_gallery(old, writable=True) as gallery:
            gallery.set_labels([1], ['later'])
        counter.stop_before = None

    counter.stop_before, counter.stop = 3, relabel
    report = encode(old, other, tmp_path / 'new', batch_size=1)
    assert report.source.is_outdated
    with open_gallery(tmp_path / 'new') as gallery:
        assert gallery.records([1])[0].label != 'later'


def test_a_stopped_run_goes_on(old, other, tmp_path, counter):
    counter.count, counter.stop_before, counter.stop = 0, 1 + 5, press_ctrl_c
    with pytest.raises(KeyboardInterrupt):
        encode(old, other, tmp_path / 'new', batch_size=1, seconds_between_commits=0.0)
    counter.stop_before = None
    report = encode(old, other, tmp_path / 'new')
    assert report.reused >= 4 and report.reused + report.encoded == 8


KILLED = """
import sys
import glsim_mm
from counting_model import CountingViT, kill_dash_nine
from glsim_mm.search import build_gallery
CountingViT.stop_before, CountingViT.stop = 1 + 5, kill_dash_nine
source, config, checkpoint, location = sys.argv[1:5]
build_gallery(None, config, checkpoint, location, source=source, batch_size=1, num_workers=1, device='cpu',
              seconds_between_commits=0.0)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_and_takes_the_place_of_the_old_one(old, other, tmp_path, counter):
    (tmp_path / 'killed.py').write_text(KILLED)
    result = run_tool(tmp_path / 'killed.py', old, *other, tmp_path / 'new', cwd=tmp_path)
    assert result.returncode == -9, result.stderr
    assert not (tmp_path / 'new').exists()
    with open_gallery(old) as reader:
        before = facts(reader)
        counter.count = 0
        report = encode(old, other, tmp_path / 'new')
        assert report.reused >= 4 and report.reused + report.encoded == 8
        call_tool('retrieval/swap', old, tmp_path / 'new')
        assert facts(reader) == before and reader.search(reader.vectors([1]), 1, transformed=True).ids[0, 0] == 1
    with open_gallery(old, expect=Encoder(*other, device='cpu').fingerprint) as gallery:
        assert facts(gallery) == before


def test_mistakes(old, other, photos, tmp_path, capsys):
    with pytest.raises(UserError, match='the rows of a gallery are all that is encoded'):
        build_gallery(photos, *other, tmp_path / 'new', source=old, **QUIET)
    with pytest.raises(UserError, match='there is no gallery at'):
        encode(tmp_path / 'gone', other, tmp_path / 'new')
    for arguments, message in (
        ([photos, *other, '--from', old], 'give either images, --dataset or --from'),
        ([*other, '--from', old, '--exclude', 'a'], '--from takes over all rows'),
        ([*other, '--from', tmp_path / 'gone'], 'there is no gallery at'),
    ):
        with pytest.raises(SystemExit):
            call_tool('retrieval/build', *arguments, '--out', tmp_path / 'new')
        assert message in capsys.readouterr().err
