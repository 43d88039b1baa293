# The rendered demo set (glsim make-demo) at 64 px: squares of 72 px, cropped.
_base_ = 'cub.py'

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='Resize', scale=72, backend='pillow', interpolation='bicubic'),
    dict(type='RandomCrop', crop_size=64),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImage', on_unreadable='blank'),
    dict(type='Resize', scale=72, backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=64),
    dict(type='PackInputs'),
]

train_dataloader = dict(batch_size=32, num_workers=1, dataset=dict(data_root='data/demo', pipeline=train_pipeline))
val_dataloader = dict(batch_size=100, num_workers=1, dataset=dict(data_root='data/demo', pipeline=test_pipeline))
test_dataloader = val_dataloader
