"""The command lines that search galleries, and ImageSearch behind them."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from PIL import Image
from tiny_run import call_tool, write_config, write_images

from glsim_mm.search import ImageSearch
from retrieval.errors import RetrievalError
from retrieval.gallery import Record, create_gallery, open_gallery


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """A gallery of 8 images in two classes, the model that made it, and the images."""
    folder = tmp_path_factory.mktemp('search')
    images = write_images(folder / 'images', side=48)
    config = write_config(folder / 'tiny_search.py', images)
    torch.manual_seed(0)
    model = MODELS.build(dict(Config.fromfile(config).model, type='mmpretrain.GLSimClassifier'))
    torch.save({'state_dict': model.state_dict()}, folder / 'weights.pth')
    options = dict(spaces=('aggregated', 'global', 'crop'), keep_patches=True, device='cpu', num_workers=0)
    search = ImageSearch.build(images / 'val', config, folder / 'weights.pth', folder / 'gallery', **options)
    search.close()
    return folder / 'gallery', config, folder / 'weights.pth', images / 'val'


def run_search(capsys, *arguments):
    """What the command prints on standard output."""
    capsys.readouterr()
    call_tool('retrieval/search', *arguments)
    return capsys.readouterr().out


def test_five_lines(built):
    gallery, config, checkpoint, images = built
    query = images / 'striped' / 'striped1.png'
    with ImageSearch.open(gallery, config, checkpoint, device='cpu') as search:
        result = search(str(query), k=3)[0]
        assert len(result.hits) == 3 and result.hits[0].record.path == 'striped/striped1.png'
        assert result.hits[0].score == pytest.approx(1, abs=1e-4)
        assert result.hits[0].record.label == 'striped' and result.hits[0].record.similarity_map.shape == (4, 4)
        x0, y0, x1, y1 = result.query.box
        assert 0 <= x0 < x1 <= 48 and 0 <= y0 < y1 <= 48
        np.testing.assert_allclose(result.hits[0].record.box, result.query.box, atol=1e-3)
        part = search(str(query), k=1, box=(0, 0, 20, 20))[0]
        assert part.hits[0].score < 0.9999
        array = np.asarray(Image.open(query))[..., ::-1]
        assert search(np.ascontiguousarray(array), k=1)[0].hits[0].record.path == 'striped/striped1.png'


def test_rows_of_the_gallery_need_no_model_and_are_not_among_their_hits(built, capsys):
    gallery, *_ = built
    out = json.loads(run_search(capsys, gallery, '--id', 2, 5, '-k', 20, '--json'))
    assert [answer['query']['id'] for answer in out] == [2, 5]
    for answer in out:
        assert len(answer['hits']) == 7 and answer['query']['id'] not in [hit['id'] for hit in answer['hits']]
        scores = [hit['score'] for hit in answer['hits']]
        assert scores == sorted(scores, reverse=True)
    with ImageSearch.open(gallery, with_model=False) as search:
        for method in ('k-reciprocal', 'query-expansion', 'region'):
            for space in ('global', {'global': 1.0, 'crop': 0.5}):
                hits = search.similar([2], 4, method=method, space=space)[0].hits
                assert len(hits) == 4 and 2 not in [hit.record.id for hit in hits]
        with pytest.raises(RetrievalError, match='needs the model'):
            search('photo.jpg')


def test_matches_of_patches_explain_the_score_of_the_re_ranking(built, capsys, tmp_path):
    gallery, config, checkpoint, images = built
    query, page = images / 'striped' / 'striped1.png', tmp_path / 'results.html'
    out = json.loads(run_search(capsys, gallery, query, '-k', 8, '--rerank', 'region', '--explain', '--json'))[0]
    without = json.loads(run_search(capsys, gallery, query, '-k', 8, '--json'))[0]['hits']
    plain = {hit['id']: hit['score'] for hit in without}
    for hit in out['hits']:
        assert hit['score'] == pytest.approx(0.75 * plain[hit['id']] + 0.25 * hit['region_similarity'], abs=1e-4)
        for pair in hit['matches']:
            assert -1 <= pair['similarity'] <= 1 and len(pair['query_box']) == len(pair['box']) == 4
    assert out['hits'][0]['region_similarity'] == pytest.approx(1, abs=1e-3)
    text = run_search(capsys, gallery, '--id', 1, '-k', 2, '--explain', '--out', page, tmp_path / 'results.png')
    assert '1.00 in all' not in text and 'pairs' in text and text.count(' - [') == 6
    html = page.read_text()
    assert html.count('<details class="matches"') == 2 and html.count('Share</th>') == 2
    assert np.asarray(Image.open(tmp_path / 'results.png')).shape[0] > 400


def test_patches_without_places_are_explained_by_the_photos(built, capsys, tmp_path):
    gallery, config, checkpoint, images = built
    old = tmp_path / 'old'
    shutil.copytree(gallery, old)
    with open_gallery(old, writable=True) as writer:  # as galleries of earlier versions are
        records = writer.records(writer.ids())
        writer.update(writer.ids(), records=[replace(record, patch_boxes=None) for record in records])
    query = images / 'striped' / 'striped1.png'
    new_hits, old_hits = (
        json.loads(run_search(capsys, one, query, '-k', 3, '--explain', '--json'))[0]['hits'] for one in (gallery, old)
    )
    for one, other in zip(new_hits, old_hits):
        assert one['region_similarity'] == pytest.approx(other['region_similarity'], abs=1e-3)
        np.testing.assert_allclose(
            [pair['box'] for pair in one['matches']], [pair['box'] for pair in other['matches']], atol=1e-2
        )
    gone = json.loads(run_search(capsys, old, query, '-k', 2, '--explain', '--json', '--root', tmp_path))[0]['hits']
    assert all('its photo is not there' in hit['unexplained'] for hit in gone)
    with ImageSearch.open(old, with_model=False) as search:
        assert search.similar([1], 2, method='region')[0].hits  # works as before
        with pytest.raises(RetrievalError, match='does not say where the patches .* --keep-patches'):
            search.similar([1], 2, explain=True)


def test_galleries_without_patches_are_explained_by_the_photos(built, tmp_path, caplog):
    _, config, checkpoint, images = built
    options = dict(spaces=('global',), device='cpu', num_workers=0)
    with ImageSearch.build(images, config, checkpoint, tmp_path / 'plain', **options) as search:
        hits = search(str(images / 'striped' / 'striped1.png'), 2, explain=True)[0].hits
    assert hits[0].region_similarity == pytest.approx(1, abs=1e-3) and hits[1].matches
    assert 'build the gallery with --keep-patches' in caplog.text


def test_best_of_each_group_and_no_copies_of_the_query(built, capsys, tmp_path):
    gallery, config, checkpoint, images = built
    copied = tmp_path / 'gallery'
    shutil.copytree(gallery, copied)
    with open_gallery(copied, writable=True) as writer:
        (known,) = writer.ids({'path': 'striped/striped1.png'}).tolist()
        old = writer.records([known])[0]
        spaces = {name: writer.vectors([known], name) for name in writer.manifest.spaces}
        moved = Record('moved.png', label='copy', content_hash=old.content_hash)
        (copy,) = writer.add(spaces, [moved], patches=writer.patches([known])).tolist()
    query = images / 'striped' / 'striped1.png'
    model = ('--config', config, '--checkpoint', checkpoint, '--device', 'cpu', '--json')

    def ids(*arguments):
        return [hit['id'] for hit in json.loads(run_search(capsys, copied, *arguments))[0]['hits']]

    every = ids(query, *model, '-k', 20)
    assert len(every) == 9 and set(every[:2]) == {known, copy}
    assert ids(query, *model, '-k', 20, '--exclude-same') == every[2:]
    with open_gallery(copied) as reader:
        labels = {record.id: record.label for record in reader.records(reader.ids())}
    best = {}
    for number in every:
        best.setdefault(labels[number], number)
    assert ids(query, *model, '-k', 20, '--group-by', 'label') == list(best.values())
    assert ids('--id', known, '--json', '-k', 20) == [number for number in every if number != known]
    assert not {known, copy} & set(ids('--id', known, '--json', '-k', 20, '--exclude-same'))
    for method in ('k-reciprocal', 'query-expansion', 'region'):
        found = ids(query, *model, '--rerank', method, '--group-by', 'label', '--exclude-same')
        assert {labels[number] for number in found} == set(labels.values()) - {'copy'} and len(found) == 2
    with pytest.raises(SystemExit):
        run_search(capsys, copied, query, *model, '--group-by', 'colour')
    assert "there is no column 'colour'; the columns are id, path" in capsys.readouterr().err


def test_table_fits_a_terminal(built, capsys):
    gallery, config, checkpoint, images = built
    out = run_search(capsys, gallery, images / 'plain', '-k', 3, '--device', 'cpu', '--space', 'global=0.5,crop=1')
    blocks = out.strip().split('\n\n')
    assert len(blocks) == 4 and all(len(line) <= 80 for line in out.splitlines())
    for number, block in enumerate(blocks):
        head, columns, first, *_ = block.splitlines()
        assert head.endswith(f'plain{number}.png') and columns.split() == ['rank', 'score', 'id', 'label', 'path']
        assert first.split()[0] == '1' and first.split()[-2:] == ['plain', f'plain/plain{number}.png']


def test_filters_and_unreadable_queries(built, capsys, tmp_path):
    gallery, config, checkpoint, images = built
    (tmp_path / 'broken.png').write_bytes(b'no image')
    arguments = [gallery, tmp_path / 'broken.png', images / 'plain' / 'plain0.png', '--device', 'cpu', '-k', 9]
    broken, good = json.loads(run_search(capsys, *arguments, '--json', '--where', 'label=striped', '--where', 'id>4'))
    assert broken['error'] and broken['hits'] == [] and 'error' not in good
    assert {hit['label'] for hit in good['hits']} == {'striped'} and all(hit['id'] > 4 for hit in good['hits'])
    with pytest.raises(SystemExit) as stop:
        call_tool('retrieval/search', gallery, tmp_path / 'broken.png', '--device', 'cpu')
    assert stop.value.code == 2
    assert 'broken.png cannot be read: not an image' in capsys.readouterr().err.splitlines()[-1]
    run_search(capsys, *arguments[:2], *arguments[2:], '--out', tmp_path / 'r.html')
    page = (tmp_path / 'r.html').read_text()
    assert 'The query cannot be read: not an image' in page and 'Nothing was found' not in page


def test_result_files(built, capsys, tmp_path):
    gallery, config, checkpoint, images = built
    files = [tmp_path / name for name in ('r.png', 'r.html', 'r.json')]
    run_search(capsys, gallery, images / 'plain' / 'plain0.png', '--device', 'cpu', '-k', 3, '--out', *files)
    sheet = Image.open(files[0])
    assert sheet.width > 4 * 160 and len(set(sheet.getdata())) > 100
    page = files[1].read_text()
    assert (
        page.count('data:image/jpeg') == 3
        and page.count('data:image/png') == 4
        and 'plain/plain0.png' in page
        and 'GLSimClassifier' in page
    )
    assert len(json.loads(files[2].read_text())[0]['hits']) == 3


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['--id', 99], 'id 99 is not in the gallery'),
        (['--id', 1, '--where', 'colour=red'], "no column 'colour'; the columns are id, path, label"),
        (['--id', 1, '--where', 'red'], 'is not a condition'),
        (['--id', 1, '--where', 'label=Plane'], '0 of 8 rows have label=Plane; did you mean plain?'),
        (['--where', 'label=Plane', 'photo.png'], 'photo.png does not exist'),
        (['--id', 1, '--parameters', 'nprobe'], 'is written as nprobe=64'),
        (['--id', 1, '--parameters', 'nprobes=3'], "no parameter 'nprobes'"),
        (['--id', 1, '--space', 'best'], "no space 'best'; it has aggregated, global, crop"),
        (['--id', 1, '--space', 'global=x'], 'write weights above 0'),
        (['--id', 1, '--rerank', 'magic'], 'method must be one of'),
        (['--id', 1, '--index-device', 'tpu'], 'device must be auto, cpu or gpu, or gpu with options, as gpu:shard'),
        (['--id', 1, '--out', 'r.txt'], 'must end in .html'),
        ([], 'give images, or ids'),
        (['--id', 1, '--box', 0, 0, 1, 1], '--box is a part of an image'),
    ],
)
def test_mistakes_end_in_one_line(built, capsys, arguments, words):
    with pytest.raises(SystemExit) as stop:
        call_tool('retrieval/search', built[0], *arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert 'error: ' in error and words in error


def test_another_model_is_refused(built, capsys, tmp_path):
    gallery, config, checkpoint, images = built
    state = torch.load(checkpoint, weights_only=True)
    state['state_dict']['head.fc.bias'] += 1
    torch.save(state, tmp_path / 'other.pth')
    with pytest.raises(SystemExit) as stop:
        call_tool('retrieval/search', gallery, images, '--checkpoint', tmp_path / 'other.pth', '--device', 'cpu')
    assert stop.value.code == 2 and 'weights differ' in capsys.readouterr().err.replace('differs', 'differ')


def test_gallery_that_names_no_model(tmp_path, capsys):
    create_gallery(tmp_path / 'plain', 4).close()
    with pytest.raises(SystemExit):
        call_tool('retrieval/search', tmp_path / 'plain', tmp_path)
    assert 'does not say which model made it: give --config and --checkpoint' in capsys.readouterr().err


def test_remove_and_info(built, capsys, tmp_path):
    import shutil

    gallery = tmp_path / 'copy'
    shutil.copytree(built[0], gallery)
    call_tool('retrieval/remove', gallery, '--where', 'label=plain', '--dry-run')
    assert capsys.readouterr().out == '4 would be removed\n'
    call_tool('retrieval/remove', gallery, '--where', 'label=none')
    assert capsys.readouterr().out == '0 of 8 rows have label=none\n0 removed, 8 left\n'
    call_tool('retrieval/remove', gallery, '--id', 4)
    assert capsys.readouterr().out == f'1 removed, 7 left\nglsim label {gallery} --undo 1 brings them back\n'
    call_tool('retrieval/info', gallery)
    out = capsys.readouterr().out
    assert 'rows:       7, 1 removed\n' in out and 'aggregated (32), global (32), crop (32)' in out
    assert 'built: flat' in out and 'label (text)' in out
    call_tool('retrieval/remove', gallery, '--where', 'label=plain', '--compact')
    assert capsys.readouterr().out == '4 removed, 3 left\n'
    call_tool('retrieval/info', gallery, '--json', '--verify', '--id', 5)
    described = json.loads(capsys.readouterr().out)
    assert described['counts'] == {'rows': 3, 'removed': 0, 'segments': 1}
    assert described['records'][0]['label'] == 'striped' and len(described['files']) == 5
    (gallery / next(iter(described['files']))).write_bytes(b'')
    with pytest.raises(SystemExit) as stop:
        call_tool('retrieval/info', gallery)
    assert stop.value.code == 2 and 'is damaged: restore the gallery' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        call_tool('retrieval/remove', gallery)
    assert 'give either --id, --where or --unfinished' in capsys.readouterr().err


def test_mistakes_in_python(built):
    photo = str(built[3] / 'plain' / 'plain0.png')
    with ImageSearch.open(built[0], device='cpu') as search:
        for call, words in [
            (lambda: search(photo, space='globl'), "no space 'globl'; it has aggregated, global, crop"),
            (lambda: search(photo, space={'globl': 1.0}), "no space 'globl'"),
            (lambda: search(photo, 0), 'k must be at least 1, got 0'),
            (lambda: search.similar([1], 0), 'k must be at least 1, got 0'),
            (lambda: search.similar([1], True), 'k must be a whole number, got True'),
            (lambda: search.similar([1.9]), 'ids must be a list of whole numbers'),
            (lambda: search.similar([1], where='label=plain'), 'a filter is a dict'),
        ]:
            with pytest.raises(RetrievalError, match=words):
                call()


def test_adding_and_removing_in_python(built, tmp_path):
    import shutil

    gallery, config, checkpoint, images = built
    shutil.copytree(gallery, tmp_path / 'copy')
    Image.fromarray(np.full((50, 40, 3), 200, np.uint8)).save(tmp_path / 'new.png')
    with ImageSearch.open(tmp_path / 'copy', device='cpu', writable=True) as search:
        search.add(str(tmp_path / 'new.png'), num_workers=0)
        hit = search(str(tmp_path / 'new.png'), k=1)[0].hits[0]
        assert hit.score == pytest.approx(1, abs=1e-4) and hit.record.id == 8
        assert search.remove([8]) == 1 and search.remove(where={'label': 'plain'}) == 4
    assert len(open_gallery(tmp_path / 'copy')) == 4
