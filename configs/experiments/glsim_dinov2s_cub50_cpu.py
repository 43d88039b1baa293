# The recorded run of docs/studies/experiments.md: glsim_dinov2s_cub.py in a budget that fits two CPU cores. 112 px, one
# of twelve blocks trained, 6 epochs. Data: the first 50 classes of CUB-200-2011 in CUB's file layout.
_base_ = '../glsim_dinov2s_cub.py'

data_root = 'data/cub50'
size = 112
resized = 150  # int(1.34 * size)

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='Resize', scale=resized, backend='pillow', interpolation='bicubic'),
    dict(type='RandomCrop', crop_size=size),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImage', on_unreadable='blank'),
    dict(type='Resize', scale=resized, backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=size),
    dict(type='PackInputs'),
]

model = dict(
    backbone=dict(pretrained=False, img_size=size, frozen_stages=11),
    # 8 x 8 patches of 14 px: the authors' O = 8 and exclusive end leave too small a crop of them.
    neck=dict(top_o=16, box_end='inclusive'),
    head=dict(num_classes=50),
)
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(num_workers=1, dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader

# Few iterations: AdamW instead of the paper's SGD, and a short warm-up.
optim_wrapper = dict(
    type='OptimWrapper',  # float32: bfloat16 is slower on CPUs without instructions for it
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=0.05),
)
max_epochs = 6
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=False, begin=0, end=30),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
