"""More images into a gallery that is there."""

import shutil

import numpy as np
import pytest
from counting_model import press_ctrl_c, press_ctrl_c_before, write_photo, write_weights
from mmengine.config import Config

from glsim_mm.search import Encoder, ImageSearch, add_images, build_gallery
from retrieval.errors import UserError
from retrieval.gallery import create_gallery, folder_writer, open_gallery
from retrieval.gallery.database import Database

QUIET = dict(num_workers=0, progress=False)


@pytest.fixture
def location(tiny_model, photos, tmp_path):
    """A gallery of ten photos with patches."""
    options = dict(QUIET, device='cpu', keep_patches=True)
    build_gallery(photos, *tiny_model[:2], tmp_path / 'gallery', **options)
    return tmp_path / 'gallery'


def rows(location) -> dict[str, tuple]:
    """Path -> id, label and content hash."""
    with open_gallery(location) as gallery:
        return {
            record.path: (record.id, record.label, record.content_hash) for record in gallery.records(gallery.ids())
        }


def add(location, images, config=None, checkpoint=None, **options):
    with ImageSearch.open(location, config, checkpoint, device='cpu', writable=True) as search:
        return search.add(images, **{**QUIET, **options})


def test_only_new_images_go_through_the_model(location, photos, counter):
    before = rows(location)
    write_photo(photos / 'a' / 'new.png', np.random.default_rng(7))
    write_photo(photos / 'c' / 'new.png', np.random.default_rng(8))
    report = add(location, photos)
    assert (report.encoded, report.reused, report.updated, report.size) == (2, 10, 0, 12)
    assert counter.count == 1 + 2  # one pass finds the dimensions
    after = rows(location)
    assert {path: after[path] for path in before} == before
    assert after['a/new.png'][1] == 'a' and after['c/new.png'][1] == 'c'
    again = add(location, photos)
    assert (again.encoded, again.reused) == (0, 12)
    assert rows(location) == after


def test_a_column_of_another_type_is_told_before_the_model_works(location, photos, counter):
    for number, (value, words) in enumerate(
        [('7', ''), ('many', "column eggs holds INTEGER, not 'many'"), ('1.5', '')]
    ):
        write_photo(photos / f'{number}.png', np.random.default_rng(20 + number))
        (photos / 'table.csv').write_text(f'path,eggs\n{number}.png,{value}\n')
        before = counter.count
        if words:
            with pytest.raises(UserError, match=words):
                add(location, photos / 'table.csv')
            assert counter.count == before + 1  # one pass finds the dimensions
        else:
            add(location, photos / 'table.csv')
    with open_gallery(location) as gallery:
        assert gallery.columns()['eggs'] == 'REAL' and len(gallery.ids({'eggs': ('>', 1)})) == 2


def test_a_changed_file_takes_the_place_of_its_row(location, photos, tiny_model):
    before = rows(location)
    write_photo(photos / 'a' / '0.png', np.random.default_rng(9))
    report = add(location, photos)
    assert (report.encoded, report.updated, report.reused, report.size) == (1, 1, 9, 10)
    after = rows(location)
    assert after['a/0.png'][:2] == before['a/0.png'][:2] and after['a/0.png'][2] != before['a/0.png'][2]
    expected = Encoder(*tiny_model[:2], device='cpu', keep_patches=True).encode(photos / 'a' / '0.png')
    with open_gallery(location) as gallery:
        number = after['a/0.png'][0]
        unit = expected.embeddings['crop'] / np.linalg.norm(expected.embeddings['crop'])
        np.testing.assert_allclose(gallery.vectors([number], 'crop'), unit, atol=1e-4)
        np.testing.assert_allclose(gallery.patches([number]), expected.patches, atol=1e-2)
        (record,) = gallery.records([number])
        np.testing.assert_array_equal(record.similarity_map, expected.records[0].similarity_map)


def test_a_changed_file_keeps_what_is_known_of_it(location, photos):
    write_photo(photos / 'a' / '0.png', np.random.default_rng(9))
    report = add(location, photos / 'a' / '0.png')  # a single file has no label
    assert report.updated == 1 and rows(location)['a/0.png'][1] == 'a'


def test_content_that_is_there_is_left_out(location, photos):
    shutil.copy(photos / 'a' / '0.png', photos / 'copy.png')
    write_photo(photos / 'new.png', np.random.default_rng(7))
    shutil.copy(photos / 'new.png', photos / 'new copy.png')
    report = add(location, photos)
    assert (report.encoded, report.reused, report.size) == (1, 12, 11)


def test_paths_from_another_folder(location, photos, tmp_path):
    path = write_photo(tmp_path / 'elsewhere' / 'x' / 'new.png', np.random.default_rng(7))
    assert add(location, tmp_path / 'elsewhere').encoded == 1
    before = rows(location)
    assert before['elsewhere:x/new.png'][1] == 'x'
    with open_gallery(location, writable=True) as gallery:  # as galleries had it that knew one root alone
        gallery.set_values([before['elsewhere:x/new.png'][0]], {'path': str(path)})
    assert add(location, tmp_path / 'elsewhere').described == 1 and rows(location) == before
    with ImageSearch.open(location, device='cpu') as search:
        results = search([path, photos / 'a' / '0.png'], k=20)
        search.write_results(results, tmp_path / 'page.html')
    page = (tmp_path / 'page.html').read_text()
    assert results[0].hits[0].record.path == 'elsewhere:x/new.png'
    assert (
        str(tmp_path) not in page
        and '>elsewhere:x/new.png' in page
        and '>a/0.png' in page
        and 'cannot be read' not in page
    )


def test_a_column_of_codes_stays_text_where_new_ones_look_like_numbers(location, photos):
    for number, gtin in enumerate(['0012', '4006381333931']):
        write_photo(photos / f'{number}.png', np.random.default_rng(30 + number))
        (photos / 'table.csv').write_text(f'path,gtin\n{number}.png,{gtin}\n')
        assert add(location, photos / 'table.csv').encoded == 1
    with open_gallery(location) as gallery:
        assert gallery.columns()['gtin'] == 'TEXT' and len(gallery.ids({'gtin': '4006381333931'})) == 1
    write_photo(photos / 'b' / 'new.png', np.random.default_rng(8))
    assert add(location, photos / 'b').encoded == 1
    assert 'b/new.png' in rows(location)


def test_unreadable_images_are_listed(location, photos):
    (photos / 'broken.jpg').write_bytes(b'no image')
    report = add(location, photos)
    assert [error.path for error in report.unreadable] == ['broken.jpg'] and report.size == 10


def test_a_stopped_run_goes_on(location, photos, counter):
    for number in range(5):
        write_photo(photos / f'new{number}.png', np.random.default_rng(20 + number))
    counter.stop_before, counter.stop = 1 + 3, press_ctrl_c
    with pytest.raises(KeyboardInterrupt):
        add(location, photos, batch_size=1, seconds_between_commits=0.0)
    counter.stop_before = None
    assert len(rows(location)) == 12
    report = add(location, photos)
    assert (report.encoded, report.reused, report.size) == (3, 12, 15)


@pytest.mark.parametrize(
    'owner, name', [(folder_writer, 'write_segment'), (Database, 'write_records'), (folder_writer, 'sweep')]
)
def test_ctrl_c_in_the_last_commit_keeps_what_was_encoded(location, photos, monkeypatch, owner, name):
    """Nothing is written twice either, whether the signal comes before the commit or after it."""
    for number in range(5):
        write_photo(photos / f'new{number}.png', np.random.default_rng(20 + number))
    with ImageSearch.open(location, device='cpu', writable=True) as search, monkeypatch.context() as patch:
        press_ctrl_c_before(patch, owner, name)
        with pytest.raises(KeyboardInterrupt):
            search.add(photos, **QUIET)
        assert len(search.gallery) == 15
    assert len(rows(location)) == 15 and {f'new{number}.png' for number in range(5)} < set(rows(location))
    report = add(location, photos)
    assert (report.encoded, report.reused, report.size) == (0, 15, 15)


def test_ctrl_c_in_the_compaction_keeps_what_was_encoded(location, photos, monkeypatch):
    write_photo(photos / 'new.png', np.random.default_rng(7))
    with monkeypatch.context() as patch:
        press_ctrl_c_before(patch, folder_writer, 'choose_preset')
        with pytest.raises(KeyboardInterrupt):
            add(location, photos, compact=True)
    assert len(rows(location)) == 11
    assert add(location, photos, compact=True).encoded == 0


def test_a_data_set_of_the_config(location, tiny_model):
    report = add(location, None, dataset='test')
    assert report.encoded == 8 and {label for _, label, _ in rows(location).values()} >= {'plain', 'striped'}
    with pytest.raises(UserError, match='either images or the name'):
        add(location, None)


def test_compaction(location, photos):
    write_photo(photos / 'new.png', np.random.default_rng(7))
    report = add(location, photos, compact=True)
    assert report.size == 11 and report.preset


def test_another_model(location, tiny_model, photos, tmp_path):
    other = write_weights(tiny_model[0], tmp_path / 'other.pth', seed=1)
    with pytest.raises(UserError, match=r'another model \(.*weights.pth\): its weights differs; use that model'):
        add(location, photos, checkpoint=other)
    cfg = Config.fromfile(tiny_model[0])
    cfg.model.neck.top_o = 2
    with pytest.raises(UserError, match='config differ'):
        add(location, photos, config=cfg)


def test_an_encoder_without_the_spaces(location, tiny_model, photos):
    encoder = Encoder(*tiny_model[:2], device='cpu', spaces=['global'])
    with open_gallery(location, writable=True) as gallery:
        with pytest.raises(UserError, match="spaces=\\('global', 'aggregated', 'crop'\\)"):
            add_images(gallery, encoder, photos, **QUIET)


def test_a_gallery_of_no_model(tmp_path, photos, tiny_model, encoder):
    with create_gallery(tmp_path / 'own', {'global': 32}) as gallery:
        assert add_images(gallery, encoder, photos, **QUIET).size == 10
    with pytest.raises(UserError, match='does not say which model made it: give --config and --checkpoint'):
        add(tmp_path / 'own', photos)


def test_a_table_changes_what_is_known_of_images_that_are_there(location, photos, counter):
    shutil.copy(photos / 'a' / '0.png', photos / 'copy.png')
    lines = ['path,label,Year', 'a/0.png,wren,2019', 'a/1.png,,2020', 'b/0.png,robin,', 'copy.png,kite,2021']
    (photos / 'table.csv').write_text('\n'.join(lines))
    with open_gallery(location) as gallery:
        vectors = gallery.vectors(gallery.ids())
    report = add(location, photos / 'table.csv')
    assert (report.encoded, report.reused, report.described, report.left_alone) == (0, 4, 3, ['copy.png'])
    with open_gallery(location) as gallery:
        found = {one.path: (one.label, one.metadata) for one in gallery.records(gallery.ids())}
        np.testing.assert_array_equal(gallery.vectors(gallery.ids()), vectors)
    assert found['a/0.png'] == ('wren', {'Year': 2019}) and found['a/1.png'] == ('a', {'Year': 2020})
    assert found['b/0.png'] == ('robin', {}) and 'copy.png' not in found and found['a/2.png'] == ('a', {})
    assert add(location, photos).described == 0 and rows(location)['a/0.png'][1] == 'wren'  # a folder corrects nothing
    (photos / 'table.csv').write_text('path,label,year\na/0.png,wren,\na/1.png,a,2020\n')
    assert add(location, photos / 'table.csv').described == 1  # the case of a column does not count
    with open_gallery(location) as gallery:
        assert len(gallery.ids({'Year': 2020})) == 1 == len(gallery.ids({'Year': ('>', 0)}))
