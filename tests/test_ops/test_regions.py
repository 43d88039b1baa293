import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_glsim import box

from glsim_mm.ops import BOX_ENDS, patch_grid, patches_to_boxes


@st.composite
def selections(draw):
    """Image size, square patch size and selected patches."""
    patch = draw(st.sampled_from([1, 7, 8, 14]))
    height, width = draw(st.integers(patch, 10 * patch)), draw(st.integers(patch, 10 * patch))
    grid = patch_grid((height, width), (patch, patch))
    count = draw(st.integers(1, min(9, grid[0] * grid[1])))
    indices = draw(
        st.lists(st.integers(0, grid[0] * grid[1] - 1), min_size=count, max_size=count, unique=True).map(list)
    )
    return (height, width), patch, grid, indices


@given(selections(), st.sampled_from(BOX_ENDS))
@settings(max_examples=150, deadline=None)
def test_box_is_the_reference_box_clamped_to_the_image(selection, end):
    (height, width), patch, grid, indices = selection
    boxes = patches_to_boxes(torch.tensor([indices]), grid, (patch, patch), (height, width), end)
    x0, y0, x1, y1 = box(indices, grid[1], patch, end)
    assert boxes.tolist() == [[x0, y0, min(x1, width), min(y1, height)]]
    x0, y0, x1, y1 = boxes[0].tolist()
    assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height


@given(selections())
@settings(max_examples=50, deadline=None)
def test_inclusive_box_holds_every_selected_patch_and_the_exclusive_box(selection):
    image, patch, grid, indices = selection
    selected = torch.tensor([indices])
    inner = patches_to_boxes(selected, grid, (patch, patch), image, 'exclusive')[0]
    outer = patches_to_boxes(selected, grid, (patch, patch), image, 'inclusive')[0]
    assert (outer[:2] == inner[:2]).all() and (outer[2:] >= inner[2:]).all()
    for index in indices:
        row, col = divmod(index, grid[1])
        assert outer[0] <= col * patch and outer[1] <= row * patch
        assert outer[2] >= min((col + 1) * patch, image[1]) and outer[3] >= min((row + 1) * patch, image[0])


def test_patches_that_are_not_square():
    boxes = patches_to_boxes(torch.tensor([[0, 5]]), (2, 4), (8, 16), (16, 64), 'inclusive')
    assert boxes.tolist() == [[0, 0, 32, 16]]


def test_grid_rounds_up():
    assert patch_grid((224, 224), (16, 16)) == (14, 14)
    assert patch_grid((225, 31), (16, 16)) == (15, 2)


def test_unknown_box_end():
    with pytest.raises(ValueError, match='exclusive, inclusive'):
        patches_to_boxes(torch.zeros(1, 1, dtype=torch.int64), (1, 1), (1, 1), (1, 1), 'open')
