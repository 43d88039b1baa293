# The recorded run on unseen classes (docs/studies/experiments.md): trained on classes 1 to 25 of data/cub50, to search
# among classes 26 to 50. 224 px, one of twelve blocks trained, 4 epochs on CPU.
_base_ = 'glsim_dinov2s_cub50_cpu.py'

size = 224
resized = 300  # int(1.34 * size)
splits = [dict(type='CUBFormat', data_root=_base_.data_root, split=split) for split in ('train', 'test')]

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

model = dict(backbone=dict(img_size=size), head=dict(num_classes=25))
train_dataloader = dict(
    dataset=dict(_delete_=True, type='ClassDisjointSplit', half='train', datasets=splits, pipeline=train_pipeline)
)
# Classification of unseen classes means nothing: there is no validation, glsim evaluate measures.
val_dataloader = None
val_cfg = None
val_evaluator = None
test_dataloader = dict(
    dataset=dict(_delete_=True, type='ClassDisjointSplit', half='test', datasets=splits, pipeline=test_pipeline)
)

max_epochs = 4
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=False, begin=0, end=30),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=max_epochs)
