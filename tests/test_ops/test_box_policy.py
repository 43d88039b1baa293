"""From scores to boxes by a policy, against plain Python that tries every box."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glsim_mm.ops import (
    ASPECTS,
    BoxPolicy,
    covering_boxes,
    fit_boxes,
    patches_to_boxes,
    region_boxes,
    select_regions,
    smooth_scores,
    top_patches,
    union_of_maps,
)

GRIDS = st.tuples(st.integers(1, 5), st.integers(1, 6))
PATCH = (4, 6)
NAN = float('nan')
SIZES = st.tuples(st.integers(1, 60), st.integers(1, 60))


def draw_scores(grid, seed=0, count=3):
    return torch.rand(count, grid[0] * grid[1], generator=torch.Generator().manual_seed(seed))


def smallest_box(scores, grid, coverage):
    """Rows and columns of the smallest box that holds the mass, by trying all."""
    mass = np.clip(scores - scores.mean(), 0, None).reshape(grid)
    best = None
    for (y0, y1), (x0, x1) in (
        (rows, columns)
        for rows in combinations(range(grid[0] + 1), 2)
        for columns in combinations(range(grid[1] + 1), 2)
    ):
        held = mass[y0:y1, x0:x1].sum()
        if held >= coverage * mass.sum() - 1e-6:
            key = (y1 - y0) * (x1 - x0), -held
            best = (key, (x0, y0, x1, y1)) if best is None or key < best[0] else best
    return best[1]


@given(GRIDS, st.integers(0, 99), st.integers(1, 40), st.sampled_from(['exclusive', 'inclusive']))
@settings(max_examples=60, deadline=None)
def test_the_default_is_the_papers_box(grid, seed, top_o, box_end):
    scores, size = draw_scores(grid, seed), (grid[0] * PATCH[0], grid[1] * PATCH[1] - 1)
    regions = select_regions(scores, grid, PATCH, size, BoxPolicy(top_o, box_end))
    assert regions.scores is scores and torch.equal(regions.indices, top_patches(scores, top_o))
    if len(scores[0]) > 1:  # of a single patch, the whole image
        assert torch.equal(regions.boxes[:, 0], patches_to_boxes(regions.indices, grid, PATCH, size, box_end))


@given(GRIDS, st.integers(0, 99), st.sampled_from([0.2, 0.5, 0.7, 0.9, 1.0]))
@settings(max_examples=60, deadline=None)
def test_the_covering_box_is_the_smallest_that_holds_the_mass(grid, seed, coverage):
    scores, size = draw_scores(grid, seed), (grid[0] * PATCH[0], grid[1] * PATCH[1])
    boxes = covering_boxes(scores, grid, PATCH, size, coverage) / torch.tensor([6, 4, 6, 4])
    for box, of_image in zip(boxes.tolist(), scores.double().numpy()):
        expected = smallest_box(of_image, grid, coverage)
        area = (expected[2] - expected[0]) * (expected[3] - expected[1])
        assert (box[2] - box[0]) * (box[3] - box[1]) == area
        mass = np.clip(of_image - of_image.mean(), 0, None).reshape(grid)
        x0, y0, x1, y1 = map(int, box)
        assert mass[y0:y1, x0:x1].sum() >= coverage * mass.sum() - 1e-4


def test_a_patch_far_away_stretches_the_papers_box_and_not_the_covering_one():
    maps = torch.zeros(1, 8, 8)
    maps[0, 2:4, 1:4], maps[0, 7, 7] = 1.0, 0.9
    place = (8, 8), (14, 14), (112, 112)
    assert select_regions(maps.flatten(1), *place, BoxPolicy(7, 'inclusive')).boxes.tolist() == [[[14, 28, 112, 112]]]
    assert select_regions(maps.flatten(1), *place, BoxPolicy(coverage=0.8)).boxes.tolist() == [[[14, 28, 56, 56]]]


@given(SIZES, st.data())
@settings(max_examples=200, deadline=None)
def test_fitted_boxes_are_as_asked_and_inside(size, data):
    height, width = size
    y0, x0 = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    y1, x1 = data.draw(st.integers(y0 + 1, height)), data.draw(st.integers(x0 + 1, width))
    low = data.draw(st.sampled_from([0.0, 0.2, 0.65]))
    high = data.draw(st.sampled_from([share for share in (0.2, 0.65, 1.0) if share >= low]))
    policy = BoxPolicy(
        margin=data.draw(st.sampled_from([0.0, 0.15, 1.0])),
        aspect=data.draw(st.sampled_from(ASPECTS)),
        min_share=low,
        max_share=high,
    ).check()
    boxes = torch.tensor([[[x0, y0, x1, y1]]])
    fitted = fit_boxes(boxes, size, policy)
    assert fitted.dtype == torch.int64 and fitted.shape == boxes.shape
    a0, b0, a1, b1 = fitted.flatten().tolist()
    assert 0 <= a0 < a1 <= width and 0 <= b0 < b1 <= height
    frames = (min(size),) * 2 if policy.aspect == 'square' else size
    shares = [side / frame for side, frame in zip((b1 - b0, a1 - a0), frames)]
    for share, frame in zip(shares, frames):
        assert low - 0.51 / frame <= share <= max(high + 0.51 / frame, 1 / frame)
    if policy.aspect != 'free':
        assert abs(shares[0] - shares[1]) <= max(1 / frame for frame in frames)
    if policy == BoxPolicy():
        assert torch.equal(fitted, boxes)


@pytest.mark.parametrize(
    ('fields', 'expected'),
    [
        (dict(margin=0.25), [25, 35, 55, 95]),
        (dict(min_share=0.5), [0, 40, 100, 90]),
        (dict(max_share=0.1), [30, 60, 50, 70]),
        (dict(aspect='image'), [0, 45, 80, 85]),
        (dict(aspect='square'), [20, 45, 60, 85]),
        (dict(aspect='square', margin=0.5, max_share=0.6), [10, 35, 70, 95]),
    ],
)
def test_each_field_by_itself(fields, expected):
    boxes = torch.tensor([[[30, 45, 50, 85]]])  # 20 wide, 40 high
    assert fit_boxes(boxes, (100, 200), BoxPolicy(**fields)).flatten().tolist() == expected


def test_smoothing_keeps_a_constant_and_spreads_a_peak():
    flat = torch.full((1, 12), 0.7)
    torch.testing.assert_close(smooth_scores(flat, (3, 4), 1.5), flat)
    peak = torch.zeros(1, 5, 5)
    peak[0, 2, 2] = 1
    blurred = smooth_scores(peak.flatten(1), (5, 5), 1.0).view(5, 5)
    torch.testing.assert_close(blurred, blurred.T)
    assert blurred.argmax() == 12 and blurred[2, 1] > blurred[1, 1] > blurred[0, 0]
    # One patch that stands out by chance loses against a group.
    maps = torch.zeros(1, 6, 6)
    maps[0, 0, 0], maps[0, 3:5, 3:5] = 1.0, 0.9
    raw, smoothed = (
        select_regions(maps.flatten(1), (6, 6), (1, 1), (6, 6), BoxPolicy(1, smoothing=sigma)) for sigma in (0, 1)
    )
    assert raw.indices.tolist() == [[0]] and smoothed.indices.tolist()[0][0] in (21, 22, 27, 28)
    assert torch.equal(smoothed.scores, smooth_scores(maps.flatten(1), (6, 6), 1))


def test_maps_without_a_maximum_give_the_whole_image():
    scores = torch.tensor([[0.5] * 6, [NAN] * 6, [0.1, NAN, 0.3, float('inf'), 0.2, 0.1]])
    for policy in (BoxPolicy(2, smoothing=0.8), BoxPolicy(coverage=0.5), BoxPolicy(2, max_share=0.4, margin=0.1)):
        boxes = select_regions(scores, (2, 3), (8, 8), (16, 24), policy).boxes
        assert boxes[:2].tolist() == [[[0, 0, 24, 16]]] * 2
        x0, y0, x1, y1 = boxes[2, 0].tolist()
        assert 0 <= x0 < x1 <= 24 and 0 <= y0 < y1 <= 16 and (x1 - x0, y1 - y0) != (24, 16)


def test_several_regions_are_fitted_too():
    scores = draw_scores((5, 6))
    place = (5, 6), (8, 8), (40, 48)
    policy = BoxPolicy((3, 9), 'inclusive', 2, 'windows', margin=0.1)
    raw = [region_boxes(scores, top_patches(scores, top_o), *place, 'inclusive', 2, 'windows') for top_o in (3, 9)]
    assert torch.equal(select_regions(scores, *place, policy).boxes, fit_boxes(torch.cat(raw, 1), (40, 48), policy))


def test_union_has_what_stands_out_in_either_map():
    first, second = torch.tensor([[0.0, 10.0, 5.0, 0.0]]), torch.tensor([[0.3, 0.1, NAN, 0.1]])
    torch.testing.assert_close(union_of_maps(first, second), torch.tensor([[1.0, 1.0, 0.5, 0.0]]))
    torch.testing.assert_close(union_of_maps(first, torch.ones(1, 4)), first / 10)


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        (dict(margin=-0.1), 'margin'),
        (dict(smoothing=NAN), 'smoothing'),
        (dict(coverage=0.0), 'coverage must be above 0 and at most 1'),
        (dict(coverage=0.5, top_o=(4, 8)), 'of a single region'),
        (dict(min_share=0.7, max_share=0.5), 'the least not above the largest'),
        (dict(max_share=0.0), 'max_share'),
        (dict(aspect='round'), 'free, image, square'),
    ],
)
def test_fields_out_of_range(fields, message):
    with pytest.raises(ValueError, match=message):
        BoxPolicy(**fields).check()
