# Plain DINOv2 ViT-S/14: the encoder of glsim_dinov2_small_p14.py with a linear classifier on its CLS token.
_base_ = 'glsim_dinov2_small_p14.py'

model = dict(
    _delete_=True,
    type='ImageClassifier',
    backbone=dict(out_type='cls_token', **_base_.model.backbone),
    neck=None,
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=384,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
)
