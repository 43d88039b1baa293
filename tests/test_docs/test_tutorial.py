"""The tutorial runs as it is written, on fewer pictures."""

import json

import pytest


@pytest.fixture
def tutorial(root):
    """The notebook."""
    return json.loads((root / 'docs' / 'learn' / 'where_did_it_look.ipynb').read_text(encoding='utf-8'))


def code_cells(notebook):
    return [cell for cell in notebook['cells'] if cell['cell_type'] == 'code']


@pytest.mark.slow
def test_every_cell_runs(tutorial, root, tmp_path, monkeypatch):
    monkeypatch.chdir(root / 'docs')
    monkeypatch.setenv('GLSIM_TUTORIAL_DIR', str(tmp_path))
    monkeypatch.setenv('GLSIM_TUTORIAL_TRAIN', '4')
    monkeypatch.setenv('GLSIM_TUTORIAL_EPOCHS', '1')
    namespace = {}
    for number, cell in enumerate(code_cells(tutorial), start=1):
        exec(compile(''.join(cell['source']), f'code cell {number} of the tutorial', 'exec'), namespace)
    assert (tmp_path / 'report.html').stat().st_size > 10_000
    assert (tmp_path / 'grid' / 'selectors.png').is_file()
    assert {row.selector for row in namespace['rows']} == set(namespace['names'])


def test_it_shows_what_its_cells_gave(tutorial):
    """Cells were run in order before the notebook was saved, without an error, and pictures are in it."""
    cells = code_cells(tutorial)
    assert [cell['execution_count'] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell['outputs']]
    assert not [output for output in outputs if output['output_type'] == 'error']
    assert sum('image/png' in output.get('data', {}) for output in outputs) == 2
