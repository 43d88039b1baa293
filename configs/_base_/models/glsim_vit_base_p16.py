# GLSim with ViT-B/16, the model of the paper (arXiv 2407.12891).
model = dict(
    type='GLSimClassifier',
    backbone=dict(
        type='GLSimViT',
        arch='vit-base',
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,
        drop_path_uniform=True,  # the same rate in every layer, as the authors have it
        branch_drop_rate=0.0,  # the dropout of the authors' "weak" recipe
        norm_cfg=dict(type='LN', eps=1e-12),
        interpolate_mode='bilinear',
        crop_cls_token=False,  # True: crops get a learnable CLS token of their own
        frozen_stages=-1,
        with_cp=False,  # True: less memory, more time
        # Google's original ImageNet-21k weights, from which the authors start. Others, such as augreg's:
        #   --cfg-options model.backbone.init_cfg.checkpoint=vit-npz://FILE.npz
        # None: --cfg-options model.backbone.init_cfg=None (docs/guides/checkpoints.md has all addresses)
        init_cfg=dict(
            type='Pretrained', checkpoint='https://storage.googleapis.com/vit_models/imagenet21k/ViT-B_16.npz'
        ),
    ),
    neck=dict(
        type='GLSimSelector',
        similarity='cos',  # 'cos', 'l1' or 'l2'
        top_o=8,  # patches that span the crop; the paper takes 16 for Stanford Dogs
        box_end='exclusive',  # as the authors' code, which leaves out the last row and column; or 'inclusive'
        crop_size=None,  # side of the crop in pixels; None: the input size
    ),
    head=dict(
        type='AggregatorHead',
        num_classes=1000,
        in_channels=768,
        num_layers=1,
        drop_path_rate=0.1,  # the authors give the aggregator the encoder's rate
        branch_drop_rate=0.0,
        norm_cfg=dict(type='LN', eps=1e-12),
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
)
