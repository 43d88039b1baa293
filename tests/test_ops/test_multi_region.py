"""Several regions per image, against plain Python that visits one patch at a time."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glsim_mm.ops import (
    component_masks,
    crop_and_resize,
    masks_to_boxes,
    patches_to_boxes,
    region_boxes,
    top_patches,
    window_masks,
)

GRIDS = st.tuples(st.integers(1, 6), st.integers(1, 7))
NAN = float('nan')


def flood_fill(selected, grid):
    """Connected components, 8 neighbours, of a set of patch numbers."""
    rest, components = set(selected), []
    while rest:
        frontier, component = [rest.pop()], set()
        while frontier:
            patch = frontier.pop()
            component.add(patch)
            row, column = divmod(patch, grid[1])
            near = {
                (row + dy) * grid[1] + column + dx
                for dy in (-1, 0, 1)
                for dx in (-1, 0, 1)
                if 0 <= row + dy < grid[0] and 0 <= column + dx < grid[1]
            }
            frontier += near & rest
            rest -= near
        components.append(component)
    return components


def greedy_windows(scores, grid, top_o, num_regions):
    """Corners of the best windows, by trying all."""
    side = math.ceil(math.sqrt(top_o))
    height, width = min(side, grid[0]), min(side, grid[1])
    found = []
    for _ in range(num_regions):
        best = None
        for y in range(grid[0] - height + 1):
            for x in range(grid[1] - width + 1):
                if any(abs(y - b) < height and abs(x - a) < width for a, b in found):
                    continue
                mean = sum(scores[(y + i) * grid[1] + x + j] for i in range(height) for j in range(width))
                if best is None or mean > best[0]:
                    best = mean, (x, y)
        found.append(found[0] if best is None else best[1])
    return [(x, y, x + width, y + height) for x, y in found]


@given(GRIDS, st.integers(1, 20), st.integers(1, 5), st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_components_equal_flood_fill(grid, top_o, num_regions, seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(2, grid[0] * grid[1], generator=generator)
    scores[1, torch.randperm(scores.shape[1], generator=generator)[0]] = NAN
    indices = top_patches(scores, top_o)
    masks = component_masks(indices, grid, num_regions)
    assert masks.shape == (2, num_regions, grid[0] * grid[1]) and masks.dtype == torch.bool
    for row, chosen, found in zip(scores.tolist(), indices.tolist(), masks):
        components = flood_fill(chosen, grid)
        row = [-1 if math.isnan(score) else score for score in row]
        components.sort(key=lambda component: (len(component), max(row[patch] for patch in component)), reverse=True)
        expected = (components + [set(chosen)] * num_regions)[:num_regions]
        assert [set(mask.nonzero().flatten().tolist()) for mask in found] == expected


@given(GRIDS, st.integers(1, 20), st.integers(1, 5), st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_windows_equal_trying_all_and_do_not_overlap(grid, top_o, num_regions, seed):
    scores = torch.rand(2, grid[0] * grid[1], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    masks = window_masks(scores, grid, top_o, num_regions)
    boxes = masks_to_boxes(masks.flatten(0, 1), grid, (1, 1), grid, 'inclusive').unflatten(0, (2, num_regions))
    for row, found in zip(scores.tolist(), boxes.tolist()):
        expected = greedy_windows(row, grid, top_o, num_regions)
        assert [tuple(box) for box in found] == expected
    for mask in masks:  # windows that were repeated count once
        assert mask.unique(dim=0).sum(dim=0).max() == 1


@given(GRIDS, st.integers(1, 60), st.sampled_from(['exclusive', 'inclusive']), st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_box_around_a_mask_is_the_box_around_its_patches(grid, count, box_end, seed):
    scores = torch.rand(3, grid[0] * grid[1], generator=torch.Generator().manual_seed(seed))
    indices = top_patches(scores, count)
    masks = torch.zeros_like(scores, dtype=torch.bool).scatter(1, indices, True)
    sizes = (8, 6), (grid[0] * 8 - 3, grid[1] * 6)
    assert torch.equal(
        masks_to_boxes(masks, grid, *sizes, box_end=box_end), patches_to_boxes(indices, grid, *sizes, box_end=box_end)
    )


def two_groups():
    """A 4 x 6 grid: three patches at the top left, two at the bottom right, one alone."""
    scores = torch.zeros(1, 24)
    for patch, score in {0: 0.5, 1: 0.6, 7: 0.4, 16: 0.9, 17: 0.3, 5: 0.2}.items():
        scores[0, patch] = score
    return scores


def test_regions_of_two_groups():
    scores = two_groups()
    place = dict(grid=(4, 6), patch_size=(10, 10), image_size=(40, 60), box_end='inclusive')
    boxes = region_boxes(scores, top_patches(scores, 6), **place, num_regions=4)
    assert boxes.tolist() == [[[0, 0, 20, 20], [40, 20, 60, 30], [50, 0, 60, 10], [0, 0, 60, 30]]]
    boxes = region_boxes(scores, top_patches(scores, 4), **place, num_regions=2, method='windows')
    assert boxes[0, 0].tolist() == [0, 0, 20, 20] and boxes[0, 1, 2] == 60


def test_exclusive_end_is_for_components_only():
    scores = two_groups()
    place = dict(grid=(4, 6), patch_size=(10, 10), image_size=(40, 60))
    components = region_boxes(scores, top_patches(scores, 6), **place, num_regions=1)
    windows = region_boxes(scores, top_patches(scores, 4), **place, num_regions=1, method='windows')
    assert components.tolist() == [[[0, 0, 10, 10]]] and windows.tolist() == [[[0, 0, 20, 20]]]


def test_windows_run_out():
    masks = window_masks(torch.tensor([[0.1, 0.9, 0.2, 0.3]]), (2, 2), 4, 3)
    assert masks.tolist() == [[[True] * 4] * 3]


@pytest.mark.parametrize('scores', [[NAN] * 6, [0.5] * 6, [float('-inf')] * 6, [NAN, 1.0, float('inf'), 0, 0, NAN]])
def test_scores_that_are_no_numbers_or_equal(scores):
    scores = torch.tensor([scores])
    indices = top_patches(scores, 3)
    for method in ('components', 'windows'):
        boxes = region_boxes(scores, indices, (2, 3), (8, 8), (16, 24), num_regions=2, method=method)
        assert ((boxes[..., 2:] - boxes[..., :2]) > 0).all() and (boxes >= 0).all()


def test_half_precision_scores():
    scores = two_groups().to(torch.bfloat16)
    indices = top_patches(scores, 6)
    place = dict(grid=(4, 6), patch_size=(10, 10), image_size=(40, 60), num_regions=2)
    for method in ('components', 'windows'):
        boxes = region_boxes(scores, indices, **place, method=method)
        assert torch.equal(boxes, region_boxes(scores.float(), indices, **place, method=method))


@pytest.mark.slow
@pytest.mark.parametrize('method', ['components', 'windows'])
def test_compiles_and_traces_in_one_graph_for_any_scores_and_batch(method):
    def regions(scores):
        return region_boxes(scores, top_patches(scores, 8), (5, 7), (8, 8), (40, 56), num_regions=3, method=method)

    compiled = torch.compile(regions, fullgraph=True, backend='aot_eager')
    traced = torch.jit.trace(regions, torch.rand(2, 35))
    for seed, batch in enumerate((2, 2, 5)):
        scores = torch.rand(batch, 35, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(compiled(scores), regions(scores))
        assert torch.equal(traced(scores), regions(scores))


def test_several_crops_of_an_image_equal_one_at_a_time():
    images = torch.rand(2, 3, 30, 40)
    boxes = torch.tensor(
        [[[0, 0, 40, 30], [5, 6, 25, 16], [3, 3, 4, 4]], [[1, 2, 3, 30], [9, 9, 39, 10], [0, 0, 8, 8]]]
    )
    crops = crop_and_resize(images, boxes, (12, 16))
    assert crops.shape == (2, 3, 3, 12, 16)
    for region in range(3):
        torch.testing.assert_close(crops[:, region], crop_and_resize(images, boxes[:, region], (12, 16)))


def test_settings_out_of_range():
    scores, place = torch.rand(1, 4), ((2, 2), (8, 8), (16, 16))
    with pytest.raises(ValueError, match='region_method must be one of components, windows'):
        region_boxes(scores, top_patches(scores, 1), *place, method='grid')
    for method in ('components', 'windows'):
        with pytest.raises(ValueError, match='num_regions must be at least 1'):
            region_boxes(scores, top_patches(scores, 1), *place, num_regions=0, method=method)
