# GLSim with DINOv2's ViT-S/14, a model of timm.
model = dict(
    type='GLSimClassifier',
    backbone=dict(
        type='TimmViT',
        model_name='vit_small_patch14_dinov2.lvd142m',
        pretrained=True,  # timm fetches the weights from its hub
        checkpoint_path='',  # a local file with timm's key names is used instead of the hub
        img_size=224,
        drop_path_rate=0.1,  # grows from 0 in the first block to this in the last, as in the authors' timm variant
        frozen_stages=-1,  # 6: the stem and the first 6 of 12 blocks are not trained
        with_cp=False,
    ),
    neck=dict(type='GLSimSelector', similarity='cos', top_o=8, box_end='exclusive', crop_size=None),
    head=dict(
        type='AggregatorHead',
        num_classes=1000,
        in_channels=384,
        num_layers=1,
        drop_path_rate=0.1,  # that of the encoder's last block, as in the authors' timm variant
        norm_cfg=dict(type='LN', eps=1e-6),  # DINOv2's epsilon
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
)
