"""Position embeddings on other grids."""

import pytest
import torch
from mmpretrain.models.utils import resize_pos_embed
from timm.layers import resample_abs_pos_embed

from glsim_mm.checkpoints.vit_weights import resize_position_embedding
from glsim_mm.errors import GLSimError


@pytest.mark.parametrize('num_leading', [0, 1, 5])
@pytest.mark.parametrize('grid', [(7, 7), (5, 3), (2, 8), (4, 4)])
def test_bicubic_is_what_timm_does(num_leading, grid):
    positions = torch.randn(1, num_leading + 16, 6)
    result = resize_position_embedding(positions, (4, 4), grid, num_leading)
    expected = resample_abs_pos_embed(positions, new_size=grid, old_size=(4, 4), num_prefix_tokens=num_leading)
    assert result.shape == (1, num_leading + grid[0] * grid[1], 6)
    assert (result - expected).abs().max() < 1e-6


@pytest.mark.parametrize('grid', [(7, 7), (5, 3), (2, 8), (4, 4)])
def test_bilinear_is_what_mmpretrain_does(grid):
    positions = torch.randn(1, 17, 6)
    result = resize_position_embedding(positions, (4, 4), grid, mode='bilinear')
    assert (result - resize_pos_embed(positions, (4, 4), grid, 'bilinear')).abs().max() < 1e-6


def test_equal_number_of_patches_in_another_shape_is_resized():
    """2 x 8 patches are as many as 4 x 4, but not the same positions."""
    positions = torch.arange(17.0).reshape(1, 17, 1)
    result = resize_position_embedding(positions, (4, 4), (2, 8), mode='bilinear')
    assert not torch.equal(result, positions)
    assert result[0, 0, 0] == 0  # the CLS token's own


def test_half_precision_is_kept():
    assert resize_position_embedding(torch.randn(1, 5, 2).half(), (2, 2), (3, 3)).dtype == torch.float16


def test_errors():
    with pytest.raises(ValueError, match='nearest'):
        resize_position_embedding(torch.randn(1, 5, 2), (2, 2), (3, 3), mode='nearest')
    with pytest.raises(GLSimError, match='has 4 patches, not 2 x 3'):
        resize_position_embedding(torch.randn(1, 5, 2), (2, 3), (3, 3))
