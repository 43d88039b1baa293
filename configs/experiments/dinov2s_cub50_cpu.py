# Plain twin of glsim_dinov2s_cub50_cpu.py: same encoder, data, budget and schedule.
_base_ = 'glsim_dinov2s_cub50_cpu.py'

model = dict(
    _delete_=True,
    type='ImageClassifier',
    backbone=dict(out_type='cls_token', **_base_.model.backbone),
    neck=None,
    head=dict(
        type='LinearClsHead',
        num_classes=50,
        in_channels=384,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
)
