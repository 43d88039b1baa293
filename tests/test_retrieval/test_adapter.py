"""The residual adapter: its gradients, what it learns, and how it is kept."""

import numpy as np
import pytest

from retrieval.adapter import Batch, adapter_loss, fit_adapter
from retrieval.class_metric import fit_metric, learn_metric
from retrieval.errors import RetrievalError
from retrieval.gallery import Record, create_gallery
from retrieval.held_out import Labeled
from retrieval.whitening import Residual, Whitening


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def random_residual(rng, width, hidden, kind=np.float64):
    shapes = [(hidden, width), (hidden,), (width, hidden), (width,)]
    return Residual(*(rng.standard_normal(shape).astype(kind) * 0.5 for shape in shapes))


@pytest.mark.parametrize('margin,preserve', [(0.1, 1.0), (0.5, 0.0), (0.0, 2.0)])
def test_gradients_are_those_of_finite_differences(margin, preserve):
    rng = np.random.default_rng(0)
    residual = random_residual(rng, 5, 7)
    batch = Batch(unit(rng.standard_normal((12, 5))), np.repeat(np.arange(4), 3))
    _, gradients = adapter_loss(residual, batch, margin, preserve)
    for array, gradient in zip(residual, gradients):
        for place in np.ndindex(array.shape):
            ends = []
            for step in (1e-6, -1e-6):
                array[place] += step
                ends.append(adapter_loss(residual, batch, margin, preserve)[0])
                array[place] -= step
            assert gradient[place] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-5)


def bent(seed=0):
    """Classes of two groups each, whose photos lie between those of others: no linear map brings them out."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(6), 30)
    centers = unit(rng.standard_normal((12, 8))).reshape(6, 2, 8)
    rows = centers[codes, np.arange(180) % 2] + rng.standard_normal((180, 8)) * 0.5
    return rows.astype(np.float32), [f'class {code}' for code in codes]


def nearest(rows, labels):
    """Share of rows whose nearest is of their class."""
    similar = rows @ rows.T - 2 * np.eye(len(rows))
    return np.mean(np.array(labels)[similar.argmax(axis=1)] == np.array(labels))


def test_it_begins_with_nothing_and_learns_what_no_linear_map_can():
    rows, labels = bent()
    nothing = fit_adapter(rows, labels, steps=0)
    np.testing.assert_allclose(nothing.apply(unit(rows)), unit(rows), atol=1e-6)
    free, held = (fit_adapter(rows, labels, hidden=48, steps=600, preserve=one) for one in (1.0, 50.0))
    linear = max(nearest(unit(rows), labels), nearest(unit(Whitening.fit_classes(rows, labels).apply(rows)), labels))
    assert nearest(free.apply(unit(rows)), labels) > linear + 0.1
    moved = [np.abs(one.apply(unit(rows)) - unit(rows)).mean() for one in (free, held)]
    assert moved[1] < 0.3 * moved[0]
    again = fit_adapter(rows, [*labels[:-1], None], steps=3)
    other = fit_adapter(np.concatenate([rows[:-1], rows[:1]]), [*labels[:-1], 'alone'], steps=3)
    for one, two in zip(again, other):  # neither a row without a label nor a class of one row counts
        np.testing.assert_array_equal(one, two)


def test_it_is_kept_by_the_gate_as_a_space(tmp_path, monkeypatch):
    monkeypatch.setattr('retrieval.metric_kinds.fit_adapter', lambda *rows: fit_adapter(*rows, steps=20))
    rows, labels = bent()
    with create_gallery(tmp_path / 'gallery', {'global': 8}) as gallery:
        gallery.add(rows, [Record(label=one) for one in labels])
        found = fit_metric(gallery, kind='adapter')
        assert found.trial.classes == 6 and found.kept == found.gains and 'adapter, shrinkage' in found.describe()
        kept = fit_metric(gallery, kind='adapter', force=True)
        assert next(iter(gallery.manifest.spaces)) == 'global-adapter'
        transform = gallery.transforms['global-adapter']
        assert transform.fingerprint == kept.transform.fingerprint and transform.residual is not None
        np.testing.assert_allclose(gallery.vectors(range(180)), unit(transform.apply(rows)), atol=1e-5)
    with pytest.raises(RetrievalError, match='an adapter goes with cosine similarity, the gallery compares by l2'):
        learn_metric(Labeled(rows, labels), ['global'], kind='adapter', metric='l2')


def test_it_survives_as_bytes_and_damaged_ones_are_refused():
    rng = np.random.default_rng(0)
    residual = random_residual(rng, 4, 6, np.float32)
    plain = Whitening(np.eye(4, dtype=np.float32), np.zeros(4, np.float32))
    one = Whitening(plain.matrix, plain.bias, residual=residual)
    copy = Whitening.from_bytes(one.to_bytes())
    rows = rng.standard_normal((5, 4)).astype(np.float32)
    np.testing.assert_array_equal(copy.apply(rows), one.apply(rows))
    np.testing.assert_allclose(one.apply(rows), residual.apply(unit(rows)), atol=1e-6)
    assert copy.fingerprint == one.fingerprint != plain.fingerprint
    for wrong in (residual._replace(first=residual.first[:, :3]), residual._replace(second_bias=np.full(4, np.nan))):
        with pytest.raises(RetrievalError, match='an adapter whose arrays do not belong together is damaged'):
            Whitening(plain.matrix, plain.bias, residual=wrong)
