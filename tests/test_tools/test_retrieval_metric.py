"""The command line that learns, shows and removes metrics."""

import numpy as np
import pytest
from tiny_run import call_tool

from retrieval.gallery import Record, create_gallery, open_gallery


@pytest.fixture
def galleries(tmp_path):
    """Two galleries of 6 classes each, whose photos vary most in two of eight directions."""
    rng = np.random.default_rng(0)
    for name in ('birds', 'fruit'):
        centers = np.repeat(rng.standard_normal((6, 8)), 10, axis=0)
        rows = centers + rng.standard_normal((60, 8)) * (5, 5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5)
        with create_gallery(tmp_path / name, {'global': 8}) as gallery:
            gallery.add(rows.astype(np.float32), [Record(label=f'{name} {row // 10}') for row in range(60)])
    return tmp_path / 'birds', tmp_path / 'fruit'


def spaces(place):
    with open_gallery(place) as gallery:
        return list(gallery.manifest.spaces)


def test_fit_info_and_remove(galleries, capsys):
    birds, fruit = galleries
    call_tool('retrieval/metric', 'fit', birds)
    printed = capsys.readouterr().out
    assert 'global-metric: learned from 60 rows of 6 classes, shrinkage ' in printed and '(p = 0.016)' in printed
    assert 'It is kept as the space global-metric, which searches compare by default.' in printed
    assert spaces(birds) == ['global-metric', 'global']
    call_tool('retrieval/metric', 'info', birds)
    assert capsys.readouterr().out.splitlines()[:2] == printed.splitlines()[:2]
    call_tool('retrieval/metric', 'fit', fruit, '--labels-from', birds, '--space', 'global')
    assert f'6 classes of {birds}' in capsys.readouterr().out
    call_tool('retrieval/metric', 'remove', birds, '--space', 'global')
    assert capsys.readouterr().out == 'global-metric is removed\n'
    assert spaces(birds) == ['global'] and spaces(fruit) == ['global-metric', 'global']
    call_tool('retrieval/metric', 'info', birds)
    assert 'has no learned metric' in capsys.readouterr().out


def test_a_metric_that_does_not_help_is_kept_only_by_force(galleries, capsys):
    birds, _ = galleries
    with open_gallery(birds, writable=True) as gallery:
        gallery.set_labels(gallery.ids(), [f'class {row % 6}' for row in range(60)])
    call_tool('retrieval/metric', 'fit', birds)
    assert 'It is not kept, because held-out classes do not gain for certain; --force' in capsys.readouterr().out
    assert spaces(birds) == ['global']
    call_tool('retrieval/metric', 'fit', birds, '--force')
    assert 'Because you insist, it is kept as the space global-metric' in capsys.readouterr().out
    assert spaces(birds) == ['global-metric', 'global']


@pytest.mark.parametrize(
    'arguments,message',
    [
        (['info', '--force'], '--labels-from, --kind and --force go with fit'),
        (['remove', '--labels-from', 'other'], '--labels-from, --kind and --force go with fit'),
        (['fit', '--space', 'crop'], "the gallery has no space 'crop'"),
        (['remove'], 'has no learned metric'),
        (['fit', '--labels-from', 'nowhere'], 'there is no gallery at nowhere'),
    ],
)
def test_mistakes_end_in_one_line(galleries, capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        call_tool('retrieval/metric', arguments[0], galleries[0], *arguments[1:])
    error = capsys.readouterr().err
    assert caught.value.code == 2 and message in error.splitlines()[-1]
