"""Localisation measures, against counting pixels."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glsim_mm.ops import box_overlap, clip_boxes, energy_inside, patch_shares, pointing_hit

NAN = float('nan')


@st.composite
def pixel_boxes(draw, height=24, width=32):
    """A box with whole corners, not empty."""
    x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return [x0, y0, draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height))]


def pixels(box, height=24, width=32):
    mask = torch.zeros(height, width, dtype=torch.bool)
    x0, y0, x1, y1 = box
    mask[y0:y1, x0:x1] = True
    return mask


@given(pixel_boxes(), pixel_boxes())
@settings(max_examples=60, deadline=None)
def test_overlap_counts_pixels(selected, annotated):
    a, b = pixels(selected), pixels(annotated)
    shared = (a & b).sum()
    inside, covered, iou = box_overlap(torch.tensor([selected]), torch.tensor([annotated]))
    assert inside.item() == pytest.approx((shared / a.sum()).item(), abs=1e-6)
    assert covered.item() == pytest.approx((shared / b.sum()).item(), abs=1e-6)
    assert iou.item() == pytest.approx((shared / (a | b).sum()).item(), abs=1e-6)


@given(pixel_boxes())
@settings(max_examples=40, deadline=None)
def test_patch_shares_count_pixels(box):
    shares = patch_shares(torch.tensor([box]), (3, 4), (8, 8))
    counted = pixels(box).float().unflatten(0, (3, 8)).unflatten(2, (4, 8)).mean(dim=(1, 3)).flatten()
    torch.testing.assert_close(shares[0], counted)


@given(pixel_boxes(), st.floats(0.01, 100), st.floats(-50, 50), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_energy_is_a_share_and_knows_no_scale(box, factor, shift, seed):
    scores = torch.randn(1, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    shares = patch_shares(torch.tensor([box]), (3, 4), (8, 8))
    energy = energy_inside(scores, shares)
    assert 0 <= energy.item() <= 1 + 1e-6
    assert energy_inside(scores * factor + shift, shares).item() == pytest.approx(energy.item(), abs=1e-3)
    everything = patch_shares(torch.tensor([[0, 0, 32, 24]]), (3, 4), (8, 8))
    assert energy_inside(scores, everything).item() == pytest.approx(1, abs=1e-6)


def test_energy_by_hand():
    shares = torch.tensor([[1.0, 0.5, 0.0, 0.0]])
    assert energy_inside(torch.tensor([[5.0, 3.0, 1.0, 1.0]]), shares).item() == pytest.approx(1.25 / 1.5)
    assert energy_inside(torch.tensor([[NAN, 3.0, 1.0, NAN]]), shares).item() == pytest.approx(0.5)
    for flat in ([2.0] * 4, [NAN] * 4, [float('-inf')] * 4):
        assert energy_inside(torch.tensor([flat]), shares).item() == pytest.approx(1.5 / 4)


def test_pointing_looks_at_the_centre_of_the_best_patch():
    scores = torch.tensor([[NAN, 0.1, 0.9, 0.2, 0.3, 0.4]] * 3)  # row 0, column 2 of 2 x 3: centre (20, 4)
    boxes = torch.tensor([[16, 0, 24, 8], [0, 0, 20, 8], [20, 4, 21, 5]])
    assert pointing_hit(scores, boxes, (2, 3), (8, 8)).tolist() == [1, 0, 1]


def test_empty_boxes_have_no_share_of_anything():
    empty, box = torch.tensor([[5, 5, 5, 9]]), torch.tensor([[0, 0, 8, 8]])
    assert [value.item() for value in box_overlap(empty, box)] == [0, 0, 0]
    assert [value.item() for value in box_overlap(box, empty)] == [0, 0, 0]


def test_boxes_are_cut_off_at_the_border():
    boxes = clip_boxes(torch.tensor([[-3.0, 4.0, 50.0, 90.0], [60.0, 2.0, 70.0, 3.0]]), (24, 32))
    assert boxes.tolist() == [[0, 4, 32, 24], [32, 2, 32, 3]]
