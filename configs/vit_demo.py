# Plain ViT under the recipe of glsim_vit_demo.py, for comparison.
_base_ = 'glsim_vit_demo.py'

model = dict(
    _delete_=True,
    type='ImageClassifier',
    backbone=dict(out_type='cls_token', **_base_.model.backbone),
    neck=None,
    head=dict(
        type='LinearClsHead',
        num_classes=8,
        in_channels=64,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
)
