# Plain twin: the same encoder with a linear classifier, at one pass.
_base_ = ['glsim_cub50.py', '../_base_/models/linear_head.py']

model = dict(
    _delete_=True,
    type='ImageClassifier',
    backbone=dict(out_type='cls_token', **_base_.model.backbone),
    head=dict(num_classes=50, in_channels=384, **_base_.linear_head),
)
