"""What all region selectors share, and what each of them looks at; GLSim's own is in test_selector_and_head.py."""

import numpy as np
import pytest
import torch
from golden_files import build_golden_model, load_golden
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from glsim_mm.errors import GLSimError
from glsim_mm.models import (
    CenterSelector,
    ClassAttentionSelector,
    GLSimSelector,
    GLSimViT,
    MAWSSelector,
    OracleSelector,
    PSMSelector,
    RandomSelector,
    RegionSelector,
    RolloutSelector,
    SACMSelector,
    TokenLayout,
    record_attention,
)
from glsim_mm.ops import BoxPolicy, covering_boxes, fit_boxes, union_of_maps

LAYOUT = TokenLayout((8, 8), 1)
ARCH = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
BOX = [3.0, 5.0, 19.5, 31.0]
SELECTORS = (
    GLSimSelector,
    ClassAttentionSelector,
    RolloutSelector,
    PSMSelector,
    MAWSSelector,
    SACMSelector,
    RandomSelector,
    CenterSelector,
    OracleSelector,
)
GOLDEN = {
    'attention_last': ClassAttentionSelector,
    'rollout': RolloutSelector,
    'psm_head_sum': PSMSelector,
    'maws_last': MAWSSelector,
    'gls_cos': GLSimSelector,
}


def build_model(selector, backbone=None, width=32, **neck):
    torch.manual_seed(0)
    backbone = backbone or dict(type='GLSimViT', arch=ARCH, img_size=32, patch_size=8)
    head = dict(type='AggregatorHead', num_classes=3, in_channels=width, num_heads=1)
    neck = dict(type=selector.__name__, top_o=3, **neck)
    return MODELS.build(dict(type='mmpretrain.GLSimClassifier', backbone=backbone, neck=neck, head=head))


def samples_with_boxes(count, box=BOX):
    samples = [DataSample().set_gt_label(index % 3) for index in range(count)]
    for sample in samples:
        sample.set_field(np.array([box], np.float32), 'gt_bboxes')
    return samples


def select(selector, height=32, width=48, seed=0, boxes=None, **kwargs):
    """Regions that a selector finds with a small random encoder."""
    torch.manual_seed(seed)
    encoder, images = GLSimViT(arch=ARCH, img_size=32, patch_size=8).eval(), torch.randn(2, 3, height, width)
    with torch.no_grad(), record_attention() as attention:
        tokens = encoder(images)[-1]
    boxes = torch.tensor([BOX, BOX]) if boxes is None else boxes
    return selector(**kwargs)(tokens, images, LAYOUT, attention, boxes)


@pytest.mark.parametrize('name', GOLDEN)
def test_scores_are_the_golden_ones(name, shared_root):
    model = build_golden_model(golden := load_golden(shared_root / 'golden', 'cos_96px_p16_top8'))
    model.neck = GOLDEN[name]()
    with np.load(shared_root / 'golden' / 'selectors_96px.npz', allow_pickle=False) as file:
        expected = torch.from_numpy(file[name])
    regions = model.extract_feat(golden.arrays['images'], stage='selector')
    torch.testing.assert_close(regions.scores, expected, atol=1e-5, rtol=0)
    assert torch.equal(regions.indices, expected.topk(8, dim=1).indices)


@pytest.mark.parametrize('selector', SELECTORS)
def test_contract(selector):
    regions = select(selector, top_o=5)
    assert regions.scores.shape == (2, 24) and regions.scores.dtype == torch.float32
    assert regions.grid == (4, 6) and regions.indices.shape == (2, 5)
    assert regions.boxes.shape == (2, 4) and regions.boxes.dtype == torch.int64
    assert regions.crops.shape == (2, 3, 32, 48) and torch.isfinite(regions.crops).all()
    for scores, chosen in zip(regions.scores, regions.indices):
        rest = torch.ones(24, dtype=torch.bool)
        rest[chosen] = False
        assert scores[chosen].min() >= scores[rest].max()


@pytest.mark.parametrize('selector', SELECTORS)
def test_more_patches_than_the_grid_has(selector):
    regions = select(selector, top_o=1000, box_end='inclusive')
    assert regions.indices.shape == (2, 24)
    expected = [3, 5, 20, 31] if selector is OracleSelector else [0, 0, 48, 32]
    assert regions.boxes.tolist() == [expected] * 2


@pytest.mark.parametrize('selector', SELECTORS)
def test_trains_and_predicts_in_a_classifier(selector):
    model, images = build_model(selector).train(), torch.randn(3, 3, 32, 32)
    model.loss(images, samples_with_boxes(3))['loss'].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    samples = model.eval().predict(images, samples_with_boxes(3))
    assert samples[0].similarity_map.shape == (4, 4) and samples[0].selected_box.shape == (4,)


def test_only_selectors_that_need_attention_have_it_recorded():
    seen = []

    class Spy(GLSimSelector):
        def score_patches(self, inputs):
            seen.append(inputs.attention)
            return super().score_patches(inputs)

    model = build_model(GLSimSelector)
    for needs_attention in (False, True):
        model.neck = Spy()
        model.neck.needs_attention = needs_attention
        model.predict(torch.randn(1, 3, 32, 32))
    assert seen[0] is None and len(seen[1]) == 2


@pytest.mark.parametrize(
    'selector', [GLSimSelector, ClassAttentionSelector, RolloutSelector, PSMSelector, MAWSSelector, SACMSelector]
)
def test_registers_are_no_patches(selector):
    backbone = dict(type='TimmViT', model_name='vit_small_patch14_reg4_dinov2', depth=2, img_size=28)
    model = build_model(selector, backbone, width=384).eval()
    regions = model.extract_feat(torch.randn(1, 3, 28, 42), stage='selector')
    assert regions.grid == (2, 3) and regions.scores.shape == (1, 6)


@pytest.mark.parametrize('selector', [ClassAttentionSelector, RolloutSelector])
def test_attention_of_an_encoder_that_returns_two_cls_tokens(selector):
    torch.manual_seed(0)
    backbone = dict(type='TimmViT', model_name='vit_small_patch14_dinov2', depth=2, img_size=28)
    models = [build_model(selector, dict(backbone, class_token_blocks=blocks), width=384).eval() for blocks in (1, 2)]
    models[1].load_state_dict(models[0].state_dict())
    images = torch.randn(1, 3, 28, 42)
    one, two = (model.extract_feat(images, stage='selector') for model in models)
    torch.testing.assert_close(one.scores, two.scores)


@pytest.mark.parametrize('selector', [ClassAttentionSelector, RolloutSelector, PSMSelector, MAWSSelector, SACMSelector])
def test_encoder_without_attention_to_read(selector):
    backbone = dict(type='VisionTransformer', arch=ARCH, img_size=32, patch_size=8, out_type='raw')
    model = build_model(selector, backbone).eval()
    for layer in model.backbone.layers:
        layer.attn.scaled_dot_product_attention = lambda q, k, v, dropout_p: (q @ k.mT).softmax(-1) @ v
    with pytest.raises(GLSimError, match=f'{selector.__name__} needs the attention of every layer'):
        model.predict(torch.randn(1, 3, 32, 32))
    model.neck = GLSimSelector()
    assert model.predict(torch.randn(1, 3, 32, 32))


def test_attention_that_was_not_recorded():
    with pytest.raises(GLSimError, match='within record_attention'):
        MAWSSelector()(torch.randn(1, 5, 8), torch.rand(1, 3, 16, 16), LAYOUT)


def test_layer():
    first, last = select(ClassAttentionSelector, layer=0).scores, select(ClassAttentionSelector).scores
    assert torch.equal(first, select(ClassAttentionSelector, layer=-2).scores)
    assert torch.equal(last, select(ClassAttentionSelector, layer=1).scores) and not torch.allclose(first, last)
    with pytest.raises(
        GLSimError, match='layer=2, but the encoder has 2 layers; set model.neck.layer between -2 and 1'
    ):
        select(MAWSSelector, layer=2)


def test_random_follows_the_seed():
    assert torch.equal(select(RandomSelector, seed=1).scores, select(RandomSelector, seed=1).scores)
    regions = select(RandomSelector)
    assert not torch.equal(regions.scores[0], regions.scores[1])


def test_center_is_the_middle_of_the_image():
    regions = select(CenterSelector, top_o=4, box_end='inclusive', width=32)
    assert sorted(regions.indices[0].tolist()) == [5, 6, 9, 10] and regions.boxes[0].tolist() == [8, 8, 24, 24]
    # The last column is padding but for 2 pixels: the middle is that of the image, not of the grid.
    regions = select(CenterSelector, top_o=1, box_end='inclusive', height=8, width=34)
    assert regions.boxes[0].tolist() == [16, 0, 24, 8]
    regions = select(CenterSelector, share=0.5, width=36)
    assert regions.boxes.tolist() == [[9, 8, 27, 24]] * 2 and regions.crops.shape[-2:] == (32, 36)
    for wrong in (dict(share=0.0), dict(share=1.1), dict(share=0.5, num_regions=2)):
        with pytest.raises(ValueError, match='share must be above 0 and at most 1, of a single region'):
            CenterSelector(**wrong)


def test_oracle_crops_the_annotated_box():
    boxes = torch.tensor([[3.0, 5.0, 19.5, 31.0], [-4.0, 8.0, 16.0, 90.0]])
    regions = select(OracleSelector, boxes=boxes)
    assert regions.boxes.tolist() == [[3, 5, 20, 31], [0, 8, 16, 32]]
    shares = regions.scores[0].view(4, 6)
    torch.testing.assert_close(shares[1], torch.tensor([5 / 8, 1, 3.5 / 8, 0, 0, 0]))
    torch.testing.assert_close(shares[:, 1], torch.tensor([3 / 8, 1, 1, 7 / 8]))


@pytest.mark.parametrize('box', [[5.0, 5.0, 5.0, 9.0], [48.0, 0.0, 48.0, 32.0]])
def test_oracle_takes_the_whole_image_for_an_empty_box(box):
    assert select(OracleSelector, boxes=torch.tensor([box, BOX])).boxes.tolist() == [[0, 0, 48, 32], [3, 5, 20, 31]]


def test_oracle_without_boxes():
    model, images = build_model(OracleSelector), torch.randn(1, 3, 32, 32)
    for samples in (None, [DataSample().set_gt_label(0)], samples_with_boxes(1, np.zeros((0, 4)))):
        with pytest.raises(GLSimError, match="algorithm_keys=\\('gt_bboxes',\\)"):
            model.predict(images, samples)


def test_oracle_takes_the_box_around_several_boxes():
    model, images = build_model(OracleSelector).eval(), torch.randn(1, 3, 32, 32)
    (sample,) = samples_with_boxes(1)
    sample.set_field(torch.tensor([[2.0, 4.0, 8.0, 9.0], [5.0, 3.0, 20.0, 7.0]]), 'gt_bboxes')
    assert model.predict(images, [sample])[0].selected_box.tolist() == [2, 3, 20, 9]


class ConstantSelector(RegionSelector):
    """Scores that single out nothing, or one patch among NaN."""

    def __init__(self, scores, **fields):
        super().__init__(top_o=1, box_end='inclusive', **fields)
        self.scores = torch.tensor(scores)

    def score_patches(self, inputs):
        return self.scores


NAN = float('nan')


@pytest.mark.parametrize(
    ('scores', 'box'),
    [
        ([0.5] * 4, [0, 0, 16, 16]),
        ([NAN] * 4, [0, 0, 16, 16]),
        ([float('-inf')] * 4, [0, 0, 16, 16]),
        ([NAN, NAN, -1.0, NAN], [0, 8, 8, 16]),
        ([0.1, 0.2, NAN, 0.1], [8, 0, 16, 8]),
    ],
)
def test_where_nothing_stands_out_the_whole_image_is_taken(scores, box):
    regions = ConstantSelector([scores])(torch.randn(1, 5, 8), torch.rand(1, 3, 16, 16), LAYOUT)
    assert regions.boxes.tolist() == [box]
    assert torch.isfinite(regions.crops).all()


@pytest.mark.parametrize('selector', [GLSimSelector, MAWSSelector, RolloutSelector])
def test_image_of_one_colour(selector):
    model = build_model(selector).eval()
    sample = model.predict(torch.zeros(1, 3, 32, 32))[0]
    assert torch.isfinite(sample.pred_score).all() and torch.isfinite(sample.selected_box).all()


@pytest.mark.slow
@pytest.mark.parametrize('selector', [MAWSSelector, PSMSelector, SACMSelector, OracleSelector, CenterSelector])
def test_compiles_without_breaks(selector):
    model, images = build_model(selector).eval(), torch.randn(2, 3, 32, 32)
    boxes = torch.tensor([BOX, BOX])

    def forward(images):
        with record_attention() as attention:
            tokens = model.backbone(images)[-1]
        return model.neck(tokens, images, LAYOUT, attention, boxes)[3:]

    with torch.no_grad():
        compiled = torch.compile(forward, fullgraph=True, backend='aot_eager')
        torch.testing.assert_close(compiled(images), forward(images))


@pytest.mark.slow
@pytest.mark.parametrize(
    'fields',
    [
        dict(num_regions=2, region_method='components'),
        dict(num_regions=2, region_method='windows'),
        dict(smoothing=0.7, coverage=0.6, margin=0.1, min_share=0.3, aspect='square'),
    ],
)
def test_boxes_compile_without_breaks(fields):
    model = build_model(GLSimSelector, **fields).eval()

    def forward(images):
        return model.head.pre_logits(model.extract_feat(images))

    with torch.no_grad():
        images = torch.randn(2, 3, 32, 32)
        compiled = torch.compile(forward, fullgraph=True, backend='aot_eager')
        torch.testing.assert_close(compiled(images), forward(images))


@pytest.mark.parametrize('method', ['components', 'windows'])
@pytest.mark.parametrize('selector', SELECTORS)
def test_several_regions(selector, method):
    regions = select(selector, top_o=6, num_regions=3, region_method=method)
    assert regions.boxes.shape == (2, 3, 4) and regions.crops.shape == (2, 3, 3, 32, 48)
    assert (regions.boxes[..., 2:] > regions.boxes[..., :2]).all()
    assert torch.isfinite(regions.crops).all() and regions.indices.shape == (2, 6)


def test_several_scales_nest_and_the_first_is_that_of_one_region():
    regions = select(GLSimSelector, top_o=(3, 8, 24), box_end='inclusive')
    for index, top_o in enumerate((3, 8, 24)):
        single = select(GLSimSelector, top_o=top_o, box_end='inclusive')
        assert torch.equal(regions.boxes[:, index], single.boxes)
        torch.testing.assert_close(regions.crops[:, index], single.crops)
    low, high = regions.boxes[..., :2], regions.boxes[..., 2:]
    assert (low[:, 1:] <= low[:, :-1]).all() and (high[:, 1:] >= high[:, :-1]).all()
    assert select(GLSimSelector, top_o=(3, 8), num_regions=2).boxes.shape == (2, 4, 4)


def test_several_regions_of_a_batch_are_those_of_each_image():
    model = build_model(GLSimSelector, num_regions=3, region_method='windows').eval()
    images = torch.randn(4, 3, 32, 48)
    together = model.predict(images)
    for image, sample in zip(images, together):
        alone = model.predict(image[None])[0]
        assert torch.equal(sample.selected_boxes, alone.selected_boxes)
        torch.testing.assert_close(sample.pred_score, alone.pred_score, atol=1e-5, rtol=1e-4)


def test_several_regions_train_and_predict():
    model, images = build_model(GLSimSelector, num_regions=2).train(), torch.randn(6, 3, 32, 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = model.loss(images, samples_with_boxes(6))['loss']
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert losses[-1] < 0.7 * losses[0]
    sample = model.eval().predict(images)[0]
    assert sample.selected_boxes.shape == (2, 4) and torch.equal(sample.selected_box, sample.selected_boxes[0])
    (class_tokens,) = model.extract_feat(images)
    assert class_tokens.shape == (6, 3, 32)


def test_one_region_leaves_no_list_of_boxes():
    assert 'selected_boxes' not in build_model(GLSimSelector).eval().predict(torch.randn(1, 3, 32, 32))[0]


def test_flat_scores_make_every_region_the_whole_image():
    selector = ConstantSelector([[0.5] * 4], num_regions=3)
    regions = selector(torch.randn(1, 5, 8), torch.rand(1, 3, 16, 16), LAYOUT)
    assert regions.boxes.tolist() == [[[0, 0, 16, 16]] * 3]


@pytest.mark.parametrize(
    'settings', [dict(num_regions=0), dict(region_method='grid'), dict(top_o=()), dict(top_o=(4, 0))]
)
def test_settings_of_regions_out_of_range(settings):
    with pytest.raises(ValueError, match='|'.join(settings)):
        GLSimSelector(**settings)


@pytest.mark.parametrize('selector', SELECTORS)
def test_every_selector_follows_the_policy(selector):
    fields = dict(top_o=4, smoothing=0.7, margin=0.1, min_share=0.3, max_share=0.6, aspect='image')
    regions, plain = select(selector, **fields), select(selector, top_o=4, smoothing=0.7)
    assert torch.equal(regions.boxes, fit_boxes(plain.boxes, (32, 48), BoxPolicy(**fields)))
    x0, y0, x1, y1 = regions.boxes.unbind(dim=1)
    assert ((y1 - y0) / 32 - (x1 - x0) / 48).abs().max() < 0.05
    assert ((y1 - y0) <= 0.6 * 32 + 1).all() and ((y1 - y0) >= 0.3 * 32 - 1).all()
    if selector not in (OracleSelector, RandomSelector):
        held = select(selector, coverage=0.6)
        assert torch.equal(held.boxes, covering_boxes(held.scores, (4, 6), (8, 8), (32, 48), 0.6))


def test_the_union_with_attention_records_it_and_selects_by_both():
    alone, attended = select(GLSimSelector), select(ClassAttentionSelector)
    both = select(GLSimSelector, union_with='class-attention')
    torch.testing.assert_close(both.scores, union_of_maps(alone.scores, attended.scores))
    assert GLSimSelector(union_with='maws').needs_attention and not GLSimSelector.needs_attention
    model = build_model(GLSimSelector, union_with='maws').eval()
    assert model.predict(torch.randn(1, 3, 32, 32))[0].similarity_map.max() == 1
    with pytest.raises(ValueError, match='class-attention, maws'):
        GLSimSelector(union_with='rollout')
    with pytest.raises(GLSimError, match='GLSimSelector needs the attention of the encoder'):
        GLSimSelector(union_with='maws')(torch.randn(1, 17, 32), torch.randn(1, 3, 32, 32), LAYOUT)
