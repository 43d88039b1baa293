# Plain DINOv2 ViT-S/14: the encoder of glsim_dinov2_small_p14.py with a linear classifier on its CLS token.
_base_ = ['glsim_dinov2_small_p14.py', 'linear_head.py']

model = dict(
    _delete_=True,
    type='ImageClassifier',
    backbone=dict(out_type='cls_token', **_base_.model.backbone),
    head=dict(num_classes=1000, in_channels=384, **_base_.linear_head),
)
