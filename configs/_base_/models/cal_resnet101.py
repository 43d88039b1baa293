# CAL: counterfactual attention learning on ResNet-101 (arXiv 2108.08728, github.com/raoyongming/CAL, fgvc/).
model = dict(
    type='CALClassifier',
    backbone=dict(
        type='ResNet',
        depth=101,
        strides=(1, 2, 2, 1),  # the last stage keeps its resolution: stride 16, no dilation
        out_indices=(3,),
        # The authors start from torchvision's ImageNet-1k weights, these are mmpretrain's.
        # None: --cfg-options model.backbone.init_cfg=None
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/resnet/'
            'resnet101_8xb32_in1k_20210831-539c63f8.pth',
            prefix='backbone',
        ),
    ),
    neck=dict(type='BilinearAttentionPooling', in_channels=2048, num_attentions=32),
    head=dict(
        type='CounterfactualHead',
        num_classes=1000,
        in_channels=32 * 2048,  # attention maps times channels
        feature_scale=100.0,
        center_momentum=0.05,
        effect_weight=1.0,
        center_weight=1.0,
    ),
    crop_thresholds=(0.4, 0.6),
    crop_padding=0.1,
    drop_thresholds=(0.2, 0.5),
    # Image and one crop, the authors' validation. Their multi-crop inference, 8 passes:
    # test_crops=[(0.3, 0.1), (0.2, 0.1), (0.1, 0.05)], test_flip=True
    test_crops=[(0.1, 0.05)],
    test_flip=False,
)
