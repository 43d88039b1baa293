# Plain ViT-B/16: the encoder of glsim_vit_base_p16.py with a linear classifier on its CLS token.
_base_ = 'glsim_vit_base_p16.py'

model = dict(
    _delete_=True,
    type='ImageClassifier',
    backbone=dict(out_type='cls_token', **_base_.model.backbone),
    neck=None,
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=768,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
)
