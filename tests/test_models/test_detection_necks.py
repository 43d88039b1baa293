"""Pyramids out of one map, and their modulation by similarity."""

import pytest
import torch
from mmpretrain.registry import MODELS

from glsim_mm.models import SimilarityModulation, SimpleFeaturePyramid
from glsim_mm.models.necks.feature_pyramids import modulate, standardise


@pytest.mark.parametrize('grid', [(8, 12), (5, 7), (1, 1)])
def test_levels(grid):
    neck = SimpleFeaturePyramid(32, 16)
    levels = neck([torch.zeros(1), torch.randn(2, 32, *grid)])
    half = [-(-side // 2) for side in grid]
    quarter = [-(-side // 2) for side in half]
    sizes = [[4 * side for side in grid], [2 * side for side in grid], list(grid), half, quarter]
    assert [list(level.shape) for level in levels] == [[2, 16, *size] for size in sizes]
    sum(level.square().mean() for level in levels).backward()
    assert not [name for name, parameter in neck.named_parameters() if parameter.grad is None]


def test_chosen_levels():
    neck = MODELS.build(
        dict(
            type='SimpleFeaturePyramid',
            in_channels=32,
            out_channels=8,
            scales=(2, 0.25),
            num_outs=2,
            norm_cfg=dict(type='BN'),
        )
    )
    assert [level.shape[-1] for level in neck([torch.randn(2, 32, 8, 8)])] == [16, 2]


@pytest.mark.parametrize('options', [dict(scales=()), dict(scales=(3,)), dict(scales=(1, 2)), dict(num_outs=2)])
def test_levels_that_cannot_be(options):
    with pytest.raises(ValueError):
        SimpleFeaturePyramid(32, 16, **options)


def _modulation(**options):
    inner = dict(type='SimpleFeaturePyramid', in_channels=32, out_channels=16)
    return SimilarityModulation(inner, channels=16, **options)


def test_untrained_modulation_changes_nothing_and_learns():
    neck = _modulation()
    features, similarity = torch.randn(2, 32, 6, 8), torch.rand(2, 1, 6, 8)
    plain = neck.neck([features])
    for one, other in zip(neck([features, similarity]), plain):
        torch.testing.assert_close(one, other)
    sum((level * torch.randn_like(level)).sum() for level in neck([features, similarity])).backward()
    assert all(factor.grad.abs().max() > 0 for factor in neck.factors)
    with torch.no_grad():
        neck.factors[2].fill_(0.5)
    torch.testing.assert_close(neck([features, similarity])[2], plain[2] * (1 + 0.5 * standardise(similarity)))


def test_standard_maps():
    similarity = torch.rand(3, 1, 5, 7) * torch.tensor([1.0, 0.01, 0.0]).reshape(3, 1, 1, 1) + 0.5
    standard = standardise(similarity)
    torch.testing.assert_close(standard[:2].mean(dim=(1, 2, 3)), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(standard[:2].std(dim=(1, 2, 3), correction=0), torch.ones(2), atol=1e-3, rtol=0)
    assert standard[2].abs().max() < 0.2  # rounding only


def test_half_precision_stays_half():
    found = modulate(torch.ones(1, 4, 8, 8).bfloat16(), torch.rand(1, 1, 2, 2), torch.zeros(4, 1, 1))
    assert found.dtype == torch.bfloat16


def test_what_it_needs():
    with pytest.raises(ValueError, match='with_similarity_map=True'):
        _modulation()([torch.randn(1, 32, 4, 4)])
    with pytest.raises(ValueError, match='set num_levels=5'):
        _modulation(num_levels=4)([torch.randn(1, 32, 4, 4), torch.rand(1, 1, 4, 4)])
