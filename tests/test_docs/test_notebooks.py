"""The notebooks run as they are written, on fewer and smaller photos, and show what their cells gave."""

import json

import pytest

NAMES = ('train', 'search', 'unknowns')
DEMO = dict(num_classes=3, train_per_class=10, test_per_class=2, size=48)


def read(root, name):
    return json.loads((root / 'docs' / 'learn' / f'{name}.ipynb').read_text(encoding='utf-8'))


def code_cells(notebook):
    return [cell for cell in notebook['cells'] if cell['cell_type'] == 'code']


def run(root, name, **parameters):
    """Run the cells in order; parameters take the place of those that the first one sets."""
    namespace = {}
    for number, cell in enumerate(code_cells(read(root, name)), start=1):
        exec(compile(''.join(cell['source']), f'code cell {number} of {name}', 'exec'), namespace)
        if cell['metadata'].get('tags') == ['parameters']:
            assert set(parameters) <= set(namespace)
            namespace.update(parameters)
    return namespace


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('notebooks')


@pytest.fixture(scope='module')
def trained(root, folder):
    """What the first notebook leaves; the others take its photos and model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return run(root, 'train', DEMO=DEMO, CHOICES=dict(encoder='scratch', size=32, epochs=1))


@pytest.fixture
def given(trained, folder, monkeypatch):
    monkeypatch.chdir(folder)
    model = dict(config=trained['written'].config, checkpoint=trained['checkpoint'])
    return dict(PHOTOS=trained['PHOTOS'], MODEL=model)


@pytest.mark.slow
def test_training(trained, folder):
    assert trained['result']['pred_class'] in {'001.One_spot_fish', '002.Two_spots_fish', '003.Ring_fish'}
    assert (folder / trained['pictures'].report).stat().st_size > 10_000


@pytest.mark.slow
def test_search(root, folder, given):
    found = run(root, 'search', **given)
    hits = found['results'][0].hits
    assert len(hits) == 5 and found['photos'][0].name not in {hit.record.path.rpartition('/')[2] for hit in hits}
    assert found['report'].unchanged == 36 and (folder / found['work'] / 'hits.html').is_file()


@pytest.mark.slow
def test_unknowns(root, given):
    found = run(root, 'unknowns', **given)
    new = found['new'].name
    assert (
        new not in found['before'] and found['after'].total() == 2 and found['settings'].classes == len(found['known'])
    )
    assert len(found['search'].gallery.ids({'label': new})) == found['report'].encoded == 10


@pytest.mark.parametrize('name', NAMES)
def test_they_show_what_their_cells_gave(root, name):
    """Cells were run in order before the notebook was saved, without an error, and name no folder of a machine."""
    cells = code_cells(read(root, name))
    assert [cell['execution_count'] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell['outputs']]
    assert outputs and not [one for one in outputs if one['output_type'] == 'error' or one.get('name') == 'stderr']
    assert sum('image/png' in output.get('data', {}) for output in outputs) == dict(train=1, search=1, unknowns=0)[name]
    texts = ''.join(str(output.get('text')) + str(output.get('data', {}).get('text/plain')) for output in outputs)
    assert not any(folder in texts for folder in ('/home/', '/root/', '/tmp/', '/work/'))


def test_the_index_links_them(root):
    index = (root / 'docs' / 'README.md').read_text(encoding='utf-8')
    assert all(f'(learn/{name}.ipynb)' in index for name in NAMES)
