"""The kind of index that fits a gallery's own rows."""

import numpy as np
import pytest
from tiny_run import call_tool

from glsim_mm.analysis.index_tuning import Trial, choose_trial
from retrieval.errors import RetrievalError
from retrieval.gallery import create_gallery, open_gallery

ROWS = np.random.default_rng(0).normal(size=(900, 16)).astype(np.float32)
TRIALS = [
    Trial('flat', 9000, '', 1.0, 90, 9.0),
    Trial('small', 100, 'nprobe 4', 0.981, 500, 2.0),
    Trial('fast', 4000, 'efSearch 16', 0.99, 2000, 0.5),
    Trial('coarse', 50, '', 0.8, 9000, 0.1),
]


@pytest.fixture
def gallery(tmp_path):
    with create_gallery(tmp_path / 'gallery', 16) as made:
        made.add(ROWS)
        made.remove(ids=[5])
    return tmp_path / 'gallery'


def test_the_fastest_that_finds_enough_or_the_smallest_that_is_fast_enough():
    assert choose_trial(TRIALS, 0.98).preset == 'fast' and choose_trial(TRIALS, 0.995).preset == 'flat'
    assert choose_trial(TRIALS, 0.98, 400).preset == 'small' and choose_trial(TRIALS, 0.98, 600).preset == 'fast'
    with pytest.raises(RetrievalError, match='fast answers 2000; take --qps 2000'):
        choose_trial(TRIALS, 0.98, 5000)
    with pytest.raises(RetrievalError, match='coarse comes to 0.800; take --recall 0.8,'):
        choose_trial(TRIALS[3:], 0.9)


def test_command_line_measures_and_applies(gallery, capsys):
    presets = ['--presets', 'ivf-flat', 'ivf-rabitq']
    call_tool('retrieval/tune', gallery, '--recall', 0.99, *presets, '--apply')
    out = capsys.readouterr().out
    rows = {line.split('`')[1]: line.split(' | ') for line in out.splitlines() if line.startswith('| `')}
    assert rows.keys() == {'ivf-flat', 'ivf-rabitq'} and float(rows['ivf-flat'][3]) > 0.9
    chosen = next(line for line in out.splitlines() if ' fits: recall ' in line).partition(' ')[0]
    with open_gallery(gallery, writable=True) as opened:
        assert opened.manifest.preset == chosen and 'as asked for' in opened.manifest.preset_reason
        truth = opened.search(ROWS[:100], 10, parameters={'nprobe': 9999}).ids
        nprobe = _nprobe(opened)
        assert (
            np.mean([np.isin(one, other).mean() for one, other in zip(truth, opened.search(ROWS[:100], 10).ids)]) > 0.9
        )
        opened.compact()  # keeps the target
        assert _nprobe(opened) == nprobe
        opened.compact(chosen, recall=0.3)
        assert _nprobe(opened) < nprobe
        opened.compact()
        assert _nprobe(opened) < nprobe
        with pytest.raises(RetrievalError, match='recall must be above 0 and at most 1, got 2'):
            opened.compact(recall=2)


def _nprobe(opened):
    return int(opened.manifest.preset_reason.split('nprobe ')[1].split()[0])


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['--memory', '1KB'], 'fits into 1 KiB: the smallest, '),
        (['--memory', 'much'], "must be a size, as 500MB or 2GB, got 'much'"),
        (['--recall', '1.5'], "must be above 0 and at most 1, as 0.98, got '1.5'"),
        (['--presets', 'swift'], "there is no preset 'swift': take some of flat, "),
    ],
)
def test_what_cannot_be_had(gallery, capsys, arguments, words):
    with pytest.raises(SystemExit) as stop:
        call_tool('retrieval/tune', gallery, *arguments)
    assert stop.value.code == 2 and words in capsys.readouterr().err


def test_too_few_rows(tmp_path, capsys):
    with create_gallery(tmp_path / 'few', 16) as made:
        made.add(ROWS[:9])
    with pytest.raises(SystemExit):
        call_tool('retrieval/tune', tmp_path / 'few')
    assert 'has 9 rows: tuning needs 20; flat is exact for so few' in capsys.readouterr().err
