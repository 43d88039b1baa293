# Plain twin of glsim_dinov2s_cub50_cpu.py: same encoder, data, budget and schedule.
_base_ = ['glsim_dinov2s_cub50_cpu.py', '../_base_/models/linear_head.py']

model = dict(
    _delete_=True,
    type='ImageClassifier',
    backbone=dict(out_type='cls_token', **_base_.model.backbone),
    head=dict(num_classes=50, in_channels=384, **_base_.linear_head),
)
