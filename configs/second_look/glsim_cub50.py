# The recorded runs of docs/studies/why_look_twice.md: the paper's GLSim on a frozen encoder. 112 px, heads are trained
# for 12 epochs; photos are not augmented, so that runs differ by their seeds alone. The others inherit from here.
_base_ = '../experiments/glsim_dinov2s_cub50_cpu.py'

size = 112
resized = 150  # int(1.34 * size)
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='Resize', scale=resized, backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=size),
    dict(type='PackInputs', algorithm_keys=('gt_bboxes',)),
]
test_pipeline = [
    dict(type='LoadImage', on_unreadable='blank'),
    dict(type='Resize', scale=resized, backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=size),
    dict(type='PackInputs', algorithm_keys=('gt_bboxes',)),
]

model = dict(backbone=dict(frozen_stages=12))
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

max_epochs = 12
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=False, begin=0, end=30),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
