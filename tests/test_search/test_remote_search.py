"""Searches through a server find what searches in its gallery find."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('fastapi', reason='needs the extra serve')
pytest.importorskip('prometheus_client', reason='needs the extra serve')

from running_servers import listening
from tiny_run import ROOT, call_tool, run_command

from glsim_mm.errors import UserError
from glsim_mm.http_client import RefusedError, ServerAwayError
from glsim_mm.search import ExportedEncoder, ImageSearch, RemoteSearch, add_images
from glsim_mm.search.server.app import create_app
from glsim_mm.search.server.galleries import open_galleries
from glsim_mm.search.server.settings import Settings
from retrieval.gallery import create_gallery

TOKEN = 'a-token-of-the-tests'
PROGRAM = """
import re
import sys
from glsim_mm.search import RemoteSearch

url, token, photo = sys.argv[1:]
with RemoteSearch(url, token) as search:
    print(search(photo, 1)[0].hits[0].record.path)
heavy = {'faiss', 'fastapi', 'mmcv', 'mmengine', 'mmpretrain', 'onnxruntime', 'timm', 'torch'}
print(sorted({name.partition('.')[0] for name in sys.modules} & heavy))
"""


@pytest.fixture(scope='module')
def served(made, tmp_path_factory):
    """A gallery of an exported model, its photos, and the address of a server that may change it."""
    folder = tmp_path_factory.mktemp('remote')
    for path in made[2].rglob('*.png'):
        target = folder / 'photos' / path.relative_to(made[2])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    encoder = ExportedEncoder(made[3], device='cpu', keep_patches=True)
    made_by = dict(fingerprint=encoder.fingerprint, origin=dict(patches='3'))
    with create_gallery(folder / 'gallery', encoder.dimensions, **made_by) as gallery:
        add_images(gallery, encoder, str(folder / 'photos'), num_workers=0, progress=False)
    opened = open_galleries([str(folder / 'gallery')], checkpoint=made[3], device='cpu')
    app = create_app(opened, Settings(token=TOKEN, writable=True), folder / 'cache', folder / 'state')
    with listening(app) as url:
        yield folder / 'gallery', folder / 'photos', url
    opened[0].search.close()


@pytest.fixture(scope='module')
def remote(served):
    with RemoteSearch(served[2], TOKEN) as search:
        yield search


@pytest.fixture(scope='module')
def local(served, made):
    with ImageSearch.open(served[0], checkpoint=made[3], device='cpu') as search:
        yield search


def same(found, wanted, maps=True):
    """Whether results are the same, one by one."""
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted):
        assert (one.query.path, one.query.label, bool(one.error)) == (
            other.query.path,
            other.query.label,
            bool(other.error),
        )
        assert [hit.rank for hit in one.hits] == [hit.rank for hit in other.hits]
        expected = {hit.record.id: hit for hit in other.hits}
        assert {hit.record.id for hit in one.hits} == expected.keys()
        for pair in [(one.query, other.query), *((hit.record, expected[hit.record.id].record) for hit in one.hits)]:
            for name in ('path', 'label', 'split', 'metadata', 'id'):
                assert getattr(pair[0], name) == getattr(pair[1], name), name
            assert tuple(pair[0].image_size or ()) == tuple(pair[1].image_size or ())
            for name in ('box', 'map_area'):
                assert getattr(pair[0], name) == pytest.approx(getattr(pair[1], name), abs=1e-3), name
            if not one.error:
                np.testing.assert_allclose(pair[0].similarity_map, pair[1].similarity_map, atol=1)
        for hit in one.hits:
            assert hit.score == pytest.approx(expected[hit.record.id].score, abs=1e-5)


@pytest.mark.parametrize(
    'options',
    [
        dict(k=3),
        dict(k=8, box=(0, 0, 20, 30)),
        dict(k=8, space='crop'),
        dict(k=8, space={'global': 0.25, 'crop': 0.75}),
        dict(k=8, where={'label': 'plain', 'id': ('<', 3)}),
        dict(k=8, where=[('path', 'in', ['plain/plain0.png', 'striped/striped1.png'])], exclude_same=True),
        dict(k=8, group_by='label'),
        dict(k=4, method='region', depth=5),
        dict(k=4, method='k-reciprocal', where=None),
    ],
    ids=str,
)
def test_photos_find_the_same(remote, local, served, options):
    photos = sorted(served[1].rglob('*.png'))[2:5]
    same(remote(photos, **options), local(photos, **options))


def test_every_form_of_a_photo(remote, local, served):
    file = served[1] / 'striped' / 'striped2.png'
    pixels = np.asarray(Image.open(file))[..., ::-1]
    photos = [file, file.read_bytes(), pixels, Image.open(file), str(served[1] / 'plain')]
    same(remote(photos, 2), local(photos, 2))
    assert remote([]) == []


def test_rows_find_the_same_and_hits_are_explained(remote, local, served):
    same(remote.similar([3, 5], 4, where={'label': 'plain'}), local.similar([3, 5], 4, where={'label': 'plain'}))
    photo = served[1] / 'plain' / 'plain1.png'
    for one, other in (
        (remote(photo, 2, explain=True), local(photo, 2, explain=True)),
        (remote.similar([4], 2, explain=True), local.similar([4], 2, explain=True)),
    ):
        same(one, other)
        for hit, expected in zip(one[0].hits, other[0].hits):
            assert len(hit.matches) == len(expected.matches) > 0
            assert hit.region_similarity == pytest.approx(expected.region_similarity, abs=1e-4)
            best, wanted = hit.matches[0], expected.matches[0]
            assert type(best) is type(wanted) and (best.query_patch, best.patch) == (wanted.query_patch, wanted.patch)
            assert best.box == pytest.approx(wanted.box, abs=1e-3) and isinstance(best.box, tuple)


def test_one_bad_photo_harms_only_itself(remote, local, served, tmp_path):
    (tmp_path / 'broken.png').write_bytes(b'no photo')
    (tmp_path / 'empty.png').write_bytes(b'')
    photos = [tmp_path / 'broken.png', served[1] / 'plain' / 'plain0.png', tmp_path / 'empty.png', b'nothing']
    same(remote(photos, 1), local(photos, 1))
    assert 'no photo of a kind' in remote(photos, 1)[0].error
    identified = remote.identify(photos[:2])
    assert identified[0].error and identified[0].answer is None and identified[1].answer['label']


def test_photos_are_identified(remote, served):
    first, second = remote.identify([served[1] / 'plain' / 'plain0.png', served[1] / 'striped' / 'striped0.png'])
    assert (first.answer['label'], second.answer['label']) == ('plain', 'striped')
    assert first.answer['sentence'] and first.votes[0]['label'] == 'plain' and first.query.box is not None
    (unknown,) = remote.identify(served[1] / 'plain' / 'plain0.png', threshold=5.0, where={'label': 'plain'})
    assert unknown.answer['kind'] == 'unknown' and {one['label'] for one in unknown.votes} == {'plain'}


def test_rows_photos_and_files(remote, local, served, tmp_path):
    assert len(remote) == len(list(remote.rows())) == 8 and remote.info()['spaces'] == local.gallery.manifest.spaces
    assert [one.id for one in remote.rows({'label': 'striped'}, sort='-id')] == [7, 6, 5, 4]
    with Image.open(served[1] / 'plain' / 'plain0.png') as wanted:
        assert remote.photo(0).size == wanted.size
    results = remote(served[1] / 'plain' / 'plain0.png', 3)
    for name in ('results.json', 'results.html', 'results.png'):
        remote.write_results(results, tmp_path / name, heatmaps=True)
    local.write_results(local(served[1] / 'plain' / 'plain0.png', 3), tmp_path / 'local.html')
    pages = [(tmp_path / name).read_text() for name in ('results.html', 'local.html')]
    assert pages[0].count('data:image') >= pages[1].count('data:image') > 3
    assert (tmp_path / 'results.png').stat().st_size > 10_000


def test_photos_are_added_and_rows_removed(made, served, tmp_path):
    rng, said = np.random.default_rng(7), []
    new = [rng.integers(0, 256, (40, 40, 3), dtype=np.uint8) for _ in range(2)]
    (tmp_path / 'broken.png').write_bytes(b'no photo')
    photos = [*new, tmp_path / 'broken.png', served[1] / 'plain' / 'plain0.png']
    with RemoteSearch(served[2], TOKEN, 'gallery') as search:
        report = search.add(photos, label='new', metadata=dict(year=2020), tell=said.append)
        assert (report.encoded, report.reused, report.size) == (2, 1, 10) and said
        assert [(one.position, one.path) for one in report.unreadable] == [(2, str(tmp_path / 'broken.png'))]
        (hit,) = search(new[1], 1)[0].hits
        assert (hit.record.label, hit.record.metadata) == ('new', dict(year=2020)) and hit.score > 0.9999
        assert search.remove([hit.record.id]) == 1 and search.remove(where={'label': 'new'}) == 1
        assert len(search) == 8


def test_what_is_refused(remote, served, made):
    photo = served[1] / 'plain' / 'plain0.png'
    for call, message in (
        (lambda: RemoteSearch(served[2], 'another-token-of-tests'), 'status 401: this server needs its token'),
        (lambda: RemoteSearch(served[2], TOKEN, 'none'), "no gallery 'none', but gallery"),
        (lambda: RemoteSearch('http://127.0.0.1:1'), 'cannot be reached'),
        (lambda: remote(photo, 0), 'k must be at least 1'),
        (lambda: remote(photo, 500), 'status 422: k: '),
        (lambda: remote(photo, space='other'), "no space 'other'"),
        (lambda: remote(photo, where='label=plain'), 'a filter is a dict'),
        (lambda: remote(photo, rescore=5), 'a server takes no rescore'),
        (lambda: remote(served[1] / 'none.png'), 'does not exist'),
        (lambda: remote.similar([99]), 'no row 99'),
        (lambda: remote.by_text('a wren'), 'no text tower'),
    ):
        with pytest.raises(UserError, match=message):
            call()
    assert issubclass(ServerAwayError, UserError) and issubclass(RefusedError, UserError)


def test_a_client_is_light(served, tmp_path):
    photo = Path(served[1]) / 'plain' / 'plain0.png'
    done = run_command(sys.executable, '-c', PROGRAM, served[2], TOKEN, photo, cwd=ROOT)
    assert done.stdout.splitlines() == ['plain/plain0.png', '[]'], done.stderr


def test_a_server_is_measured_against_its_model_alone(served, tmp_path, capsys):
    _, photos, url = served
    (tmp_path / 'token.txt').write_text(f'{TOKEN}\n')
    limits = '--clients', 2, '--seconds', 1, '--rounds', 1
    call_tool('benchmark', 'serving', url, photos, '--token-file', tmp_path / 'token.txt', *limits)
    shown = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r'\d+ questions of 2 clients in 1 rounds; passes of 2 photos', shown[0])
    assert [line.partition(':')[0].partition(',')[0] for line in shown[1:3]] == ['answers', '99 of 100 answers within']
    assert shown[3] == 'not answered: none' and shown[4].startswith('memory: ')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(SystemExit):
        call_tool('benchmark', 'serving', url, tmp_path / 'empty', *limits)
