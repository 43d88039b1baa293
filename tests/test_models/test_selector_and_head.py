import pytest
import torch
from mmpretrain.structures import DataSample

from glsim_mm.errors import GLSimError
from glsim_mm.models import AggregatorHead, GLSimSelector, RegionSelector, TokenLayout
from glsim_mm.ops import SIMILARITIES

LAYOUT = TokenLayout((8, 8), 1)


def peaked_tokens(grid, peaks, width=16, num_extra_tokens=1):
    """Tokens whose patches at ``peaks`` point the way of the CLS token and all others the opposite way."""
    g = torch.randn(1, width)
    patches = -g.repeat(grid[0] * grid[1], 1)
    for row, col in peaks:
        patches[row * grid[1] + col] = g
    registers = torch.randn(num_extra_tokens - 1, width)
    return torch.cat([g, registers, patches])[None]


@pytest.mark.parametrize('similarity', SIMILARITIES)
def test_selects_the_planted_patches_and_crops_their_box(similarity):
    tokens = peaked_tokens((4, 6), [(1, 2), (2, 4)])
    images = torch.rand(1, 3, 32, 48)
    regions = GLSimSelector(similarity=similarity, top_o=2, box_end='inclusive')(tokens, images, LAYOUT)
    assert regions.grid == (4, 6) and regions.scores.shape == (1, 24)
    assert sorted(regions.indices[0].tolist()) == [8, 16]
    assert regions.boxes.tolist() == [[16, 8, 40, 24]]
    assert regions.crops.shape == images.shape
    assert regions.scores[0, regions.indices[0]].min() > regions.scores[0].mean()


def test_registers_are_no_patches():
    tokens = peaked_tokens((2, 2), [(1, 1)], num_extra_tokens=5)
    regions = GLSimSelector(top_o=1)(tokens, torch.rand(1, 3, 16, 16), TokenLayout((8, 8), 5))
    assert regions.indices.tolist() == [[3]] and regions.boxes.tolist() == [[8, 8, 16, 16]]


def test_more_patches_than_there_are_selects_all():
    tokens = torch.randn(2, 5, 16)
    regions = GLSimSelector(top_o=100, box_end='inclusive')(tokens, torch.rand(2, 3, 16, 16), LAYOUT)
    assert regions.indices.shape == (2, 4)
    assert regions.boxes.tolist() == [[0, 0, 16, 16]] * 2


@pytest.mark.parametrize(('crop_size', 'expected'), [(None, (16, 24)), (20, (20, 20)), ((8, 12), (8, 12))])
def test_crop_size(crop_size, expected):
    regions = GLSimSelector(crop_size=crop_size)(torch.randn(1, 7, 16), torch.rand(1, 3, 16, 24), LAYOUT)
    assert regions.crops.shape[-2:] == expected


def test_image_that_the_patch_size_does_not_divide():
    tokens = peaked_tokens((3, 3), [(2, 2)])
    regions = GLSimSelector(top_o=1, box_end='inclusive')(tokens, torch.rand(1, 3, 17, 20), LAYOUT)
    assert regions.boxes.tolist() == [[16, 16, 20, 17]]
    assert torch.isfinite(regions.crops).all()


def test_no_gradient_flows_through_selection():
    tokens = torch.randn(1, 5, 16, requires_grad=True)
    images = torch.rand(1, 3, 16, 16, requires_grad=True)
    regions = GLSimSelector()(tokens, images, LAYOUT)
    assert not regions.crops.requires_grad and not regions.scores.requires_grad


def test_wrong_number_of_tokens():
    with pytest.raises(GLSimError, match='returned 3 patch tokens, but a 16x16 image has 2x2'):
        GLSimSelector()(torch.randn(1, 4, 16), torch.rand(1, 3, 16, 16), LAYOUT)


@pytest.mark.parametrize(
    ('kwargs', 'message'), [(dict(similarity='dot'), 'dot'), (dict(top_o=0), 'top_o'), (dict(box_end='x'), 'box_end')]
)
def test_unknown_settings(kwargs, message):
    with pytest.raises(ValueError, match=message):
        GLSimSelector(**kwargs)


def test_the_base_class_cannot_select():
    with pytest.raises(TypeError, match='score_patches'):
        RegionSelector()


def test_head_shapes_and_predictions():
    head = AggregatorHead(num_classes=5, in_channels=64, num_layers=2).eval()
    head.init_weights()
    for views in (1, 2, 4):
        tokens = torch.randn(3, views, 64)
        assert head.aggregate(tokens).shape == (3, views, 64)
        assert head.pre_logits((tokens,)).shape == (3, 64)
        samples = head.predict((tokens,))
        assert [int(s.pred_label) for s in samples] == head((tokens,)).argmax(dim=1).tolist()
        assert samples[0].pred_score.sum().item() == pytest.approx(1, abs=1e-5)


def test_every_view_influences_the_result_and_crops_have_no_order():
    head = AggregatorHead(num_classes=5, in_channels=64).eval()
    tokens = torch.randn(1, 3, 64)
    logits = head((tokens,))
    torch.testing.assert_close(head((tokens[:, [0, 2, 1]],)), logits)
    assert not torch.allclose(head((tokens[:, :2],)), logits)
    assert not torch.allclose(head((tokens[:, [1, 0, 2]],)), logits)


def test_loss_equals_torch_label_smoothing_and_takes_soft_labels():
    head = AggregatorHead(num_classes=5, in_channels=64, cal_acc=True)
    tokens = torch.randn(4, 2, 64)
    labels = torch.tensor([0, 4, 2, 2])
    losses = head.loss((tokens,), [DataSample().set_gt_label(label) for label in labels])
    expected = torch.nn.functional.cross_entropy(head((tokens,)), labels, label_smoothing=0.1)
    torch.testing.assert_close(losses['loss'], expected)
    assert set(losses) == {'loss', 'accuracy_top-1'}
    soft = AggregatorHead(num_classes=5, in_channels=64)
    samples = [DataSample().set_gt_score(torch.full((5,), 0.2)) for _ in range(4)]
    assert torch.isfinite(soft.loss((tokens,), samples)['loss'])


@pytest.mark.parametrize(('width', 'heads'), [(32, 1), (192, 3), (384, 6), (1280, 20)])
def test_default_number_of_heads(width, heads):
    assert AggregatorHead(2, width, num_layers=1).layers[0].attn.num_heads == heads


def test_impossible_head_settings():
    with pytest.raises(ValueError, match='num_classes'):
        AggregatorHead(0, 64)
    with pytest.raises(ValueError, match='num_heads=3'):
        AggregatorHead(2, 64, num_heads=3)
