"""What searches of a new gallery compare by default, and why."""

from types import SimpleNamespace

import numpy as np
import pytest
from mean_encoder import MeanEncoder
from PIL import Image
from test_pretrained_encoder import QUIET
from tiny_run import call_tool
from tiny_vit import write_vit

from glsim_mm.search.default_space import explain_default, is_computed, is_worth_learning, views_of
from retrieval.gallery import open_gallery
from retrieval.gallery.spaces import Spaces


class Frozen(MeanEncoder):
    adds_up, has_regions = True, True

    def __init__(self, *spaces):
        self.spaces = spaces


@pytest.mark.parametrize(
    'spaces, views, passes',
    [
        (('global', 'crop', 'centre'), ('global', 'crop', 'centre'), 3),
        (('global', 'concat', 'centre'), ('global', 'centre'), 3),
        (('global',), ('global',), 1),
        (('centre', 'global'), ('centre', 'global'), 2),
        (('concat', 'global'), ('concat',), 2),
    ],
)
def test_views_of_an_encoder_without_training(spaces, views, passes):
    encoder = Frozen(*spaces)
    assert encoder.count_passes() == passes
    known = Spaces('cosine', {name: 64 if name == 'concat' else 32 for name in spaces}, {})
    assert views_of(encoder, known) == views
    encoder.adds_up = False
    assert views_of(encoder, known) == spaces[:1]
    assert views_of(encoder, known, '+'.join(views)) == views


@pytest.mark.parametrize(
    'adds_up, space, is_learned, reason',
    [
        (True, 'fused-metric', True, 'global + crop with a metric, because classes that were held out gain (2 passes'),
        (True, 'fused', False, 'global + crop, the best of an encoder without training'),
        (True, 'global', False, 'global (2 passes'),
        (False, 'global', False, 'which finds classes that were not trained better than aggregated'),
        (False, 'aggregated', False, 'which the model was trained to be searched by'),
        (False, 'global-metric', True, 'because classes that were held out gain'),
        (False, 'crop', False, 'the first'),
    ],
)
def test_the_reason_is_given(adds_up, space, is_learned, reason):
    encoder = Frozen('global', 'crop')
    encoder.adds_up = adds_up
    said = explain_default(
        encoder, space, ('global', 'crop'), SimpleNamespace(kept=is_learned), ['global', 'aggregated']
    )
    assert said.startswith(space) and reason in said and '\n' not in said


def test_when_something_is_computed():
    encoder, five = Frozen('global'), [f'class {number}' for number in range(5)] * 2
    assert is_computed(encoder, 'auto', None) and is_worth_learning(five, 'auto')
    assert not is_computed(encoder, 'auto', 64) and not is_computed(encoder, 'none', None)
    assert not is_worth_learning(five[:9], 'auto') and is_worth_learning(five[:2], 'labels')
    encoder.adds_up = False
    assert is_computed(encoder, 'labels', None) and not is_computed(encoder, 'auto', None)


def test_with_labels_a_metric_is_learned_where_it_gains(tmp_path, capsys):
    """Photos of a class differ in a shade that all classes have, which drowns their pattern until it is learned."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 40, (10, 4, 4, 3))
    for number in range(80):
        folder = tmp_path / 'photos' / f'class {number % 10}'
        folder.mkdir(parents=True, exist_ok=True)
        pixels = patterns[number % 10] + rng.integers(0, 200, (1, 1, 3)) + rng.integers(0, 4, (4, 4, 3))
        Image.fromarray(pixels.astype(np.uint8)).resize((32, 32), Image.NEAREST).save(folder / f'{number}.png')
    weights = write_vit(tmp_path / 'vit.safetensors')
    build = ('retrieval/build', tmp_path / 'photos', '--encoder', weights, *QUIET)
    call_tool(*build, '--out', tmp_path / 'auto')
    call_tool(*build, '--out', tmp_path / 'none', '--metric-from', 'none', '--spaces', 'global')
    printed = capsys.readouterr().out
    assert 'fused-metric, global + crop + centre with a metric, because' in printed
    assert 'searched by default: global (one pass of' in printed
    with open_gallery(tmp_path / 'auto') as auto, open_gallery(tmp_path / 'none') as none:
        assert list(auto.manifest.spaces) == ['fused-metric', 'global', 'crop', 'centre']
        assert list(none.manifest.spaces) == ['global']
    call_tool('retrieval/search', tmp_path / 'auto', tmp_path / 'photos' / 'class 1' / '1.png', '--device', 'cpu')
    assert 'class 1' in capsys.readouterr().out
