import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from glsim_mm.errors import GLSimError
from glsim_mm.models import SelectedRegions

ARCH = dict(embed_dims=64, num_layers=2, num_heads=2, feedforward_channels=128)


def build(backbone=None, neck=None, width=64, **kwargs):
    backbone = backbone or dict(type='GLSimViT', arch=ARCH, img_size=32, patch_size=8)
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='mmpretrain.GLSimClassifier',
            backbone=backbone,
            neck=neck,
            head=dict(type='AggregatorHead', num_classes=5, in_channels=width),
            **kwargs,
        )
    )
    model.init_weights()
    return model


def samples_of(labels):
    return [DataSample().set_gt_label(label) for label in labels]


FOREIGN = {
    'ViT': dict(type='VisionTransformer', arch=ARCH, img_size=32, patch_size=8, out_type='raw'),
    'DeiT-3': dict(type='DeiT3', arch=ARCH, img_size=32, patch_size=8, out_type='raw'),
    'BEiT-v2': dict(
        type='BEiTViT',
        arch=ARCH,
        img_size=32,
        patch_size=8,
        out_type='raw',
        use_abs_pos_emb=False,
        use_rel_pos_bias=True,
        layer_scale_init_value=0.1,
    ),
    'EVA-02': dict(type='ViTEVA02', arch=ARCH, img_size=32, patch_size=8, out_type='raw', sub_ln=True),
    'DeiT distilled': dict(
        type='DistilledVisionTransformer', arch='deit-tiny', img_size=32, patch_size=8, out_type='raw'
    ),
    'timm registers': dict(type='TimmViT', model_name='vit_small_patch14_reg4_dinov2', depth=1, img_size=28),
}


@pytest.mark.parametrize('backbone', FOREIGN.values(), ids=FOREIGN.keys())
def test_any_token_backbone_trains_and_predicts(backbone):
    width = {'DistilledVisionTransformer': 192, 'TimmViT': 384}.get(backbone['type'], 64)
    model = build(backbone, width=width)
    size = 28 if backbone['type'] == 'TimmViT' else 32
    images = torch.randn(2, 3, size, size)
    model.train()
    model.loss(images, samples_of([0, 3]))['loss'].backward()
    gradients = [p.grad for p in model.backbone.parameters() if p.grad is not None]
    assert gradients and all(torch.isfinite(g).all() for g in gradients)
    sample = model.eval().predict(images)[0]
    patch = model.layout.patch_size[0]
    assert sample.similarity_map.shape == (size // patch, size // patch)


def test_mae_pretrained_weights_drive_the_classifier():
    from mmpretrain.models.selfsup import MAEViT

    mae = MAEViT(arch=ARCH, img_size=32, patch_size=8)
    model = build()
    result = model.backbone.load_state_dict(mae.state_dict())
    assert not result.missing_keys and not result.unexpected_keys
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 5)


@pytest.mark.parametrize(
    ('backbone', 'message'),
    [
        (dict(type='VisionTransformer', arch=ARCH, img_size=32), "out_type='raw'"),
        (dict(type='VisionTransformer', arch=ARCH, img_size=32, out_type='raw', with_cls_token=False), 'CLS token'),
        (dict(type='ResNet', depth=18), 'not a token backbone'),
    ],
)
def test_backbones_that_do_not_fit(backbone, message):
    with pytest.raises(GLSimError, match=message):
        build(backbone)


def test_stages():
    model = build().eval()
    images = torch.randn(2, 3, 32, 48)
    assert model.extract_feat(images, 'backbone')[-1].shape == (2, 25, 64)
    regions = model.extract_feat(images, 'selector')
    assert isinstance(regions, SelectedRegions) and regions.crops.shape == images.shape
    (class_tokens,) = model.extract_feat(images)
    assert class_tokens.shape == (2, 2, 64)
    assert torch.equal(class_tokens[:, 1], model.backbone.encode_crops(regions.crops))
    assert model.extract_feat(images, 'pre_logits').shape == (2, 64)
    with pytest.raises(ValueError, match='selector'):
        model.extract_feat(images, 'nowhere')


def test_predictions_say_where_the_model_looked():
    model = build().eval()
    images = torch.randn(3, 3, 32, 48)
    samples = [DataSample(metainfo=dict(img_path=f'{i}.jpg')) for i in range(3)]
    results = model.predict(images, samples)
    regions = model.extract_feat(images, 'selector')
    for i, sample in enumerate(results):
        assert sample is samples[i] and sample.img_path == f'{i}.jpg'
        assert sample.pred_score.shape == (5,)
        assert torch.equal(sample.selected_box, regions.boxes[i].float())
        assert torch.equal(sample.similarity_map.flatten(), regions.scores[i]) and sample.similarity_map.shape == (4, 6)
    assert 'selected_box' in results[0].to_dict()


def test_gradients_reach_every_parameter_through_both_passes():
    model = build().train()
    model.loss(torch.randn(2, 3, 32, 32), samples_of([1, 2]))['loss'].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_bfloat16_autocast():
    model = build().train()
    images = torch.randn(2, 3, 32, 32)
    with torch.autocast('cpu', torch.bfloat16):
        loss = model.loss(images, samples_of([0, 1]))['loss']
        regions = model.extract_feat(images, 'selector')
    loss.backward()
    assert torch.isfinite(loss) and regions.scores.dtype == torch.float32
    reference = model.loss(images, samples_of([0, 1]))['loss']
    assert loss.item() == pytest.approx(reference.item(), rel=0.02)
    with torch.no_grad():
        model.eval().to(torch.bfloat16)
        assert model(images.bfloat16()).dtype == torch.bfloat16


def test_image_smaller_than_a_patch():
    for backbone in (None, FOREIGN['DeiT-3']):
        with pytest.raises(GLSimError, match='smaller than one patch'):
            build(backbone)(torch.randn(1, 3, 32, 7))


def test_layer_wise_lr_decay_reaches_the_aggregator():
    from mmpretrain.engine.optimizers import LearningRateDecayOptimWrapperConstructor

    model = build()
    constructor = LearningRateDecayOptimWrapperConstructor(
        dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1.0, weight_decay=0.0)), dict(layer_decay_rate=0.5)
    )
    wrapper = constructor(model)
    rates = {group['param_name']: group['lr'] for group in wrapper.optimizer.param_groups}
    assert rates['head.fc.weight'] == rates['head.layers.0.attn.qkv.weight'] == 1.0
    assert rates['backbone.layers.0.attn.qkv.weight'] == 0.25
    assert rates['backbone.cls_token'] == 0.125


def test_overfits_a_handful_of_images():
    model = build().train()
    images, labels = torch.randn(10, 3, 32, 32), [i % 5 for i in range(10)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(40):
        optimizer.zero_grad()
        model.loss(images, samples_of(labels))['loss'].backward()
        optimizer.step()
    predictions = model.eval().predict(images)
    assert [int(p.pred_label) for p in predictions] == labels


def test_mixup_and_cutmix():
    augments = [dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]
    model = build(train_cfg=dict(augments=augments), data_preprocessor=dict(num_classes=5)).train()
    batch = {'inputs': list(torch.rand(4, 3, 32, 32) * 255), 'data_samples': samples_of([0, 1, 2, 3])}
    data = model.data_preprocessor(batch, training=True)
    assert data['data_samples'][0].gt_score.max() < 1
    loss = model(**data, mode='loss')['loss']
    loss.backward()
    assert torch.isfinite(loss)
