# CAL ResNet-101 on CUB-200-2011 with its authors' settings (published: 90.6 % top-1): config_distributed.py,
# train_distributed.py and utils.py of github.com/raoyongming/CAL, fgvc/.
_base_ = [
    '../_base_/models/cal_resnet101.py',
    '../_base_/datasets/cub_448.py',
    '../_base_/schedules/sgd_50e.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=200))
sync_bn = 'torch'  # on several GPUs

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='Resize', scale=512, backend='pillow', interpolation='bilinear'),  # int(448 / 0.875)
    dict(type='RandomCrop', crop_size=448),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ColorJitter', brightness=0.126, saturation=0.5),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImage', on_unreadable='blank'),
    dict(type='Resize', scale=512, backend='pillow', interpolation='bilinear'),
    dict(type='CenterCrop', crop_size=448),
    dict(type='PackInputs'),
]

# The authors train on 4 GPUs with 4 images each.
train_dataloader = dict(batch_size=16, drop_last=True, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
auto_scale_lr = dict(base_batch_size=16)

# float32, no gradient clipping.
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=1e-3, momentum=0.9, weight_decay=1e-5),
)
# The authors decay by 0.9 every two epochs, in steps of one iteration; here in steps of one epoch.
param_scheduler = [dict(type='ExponentialLR', gamma=0.9**0.5, by_epoch=True)]
train_cfg = dict(max_epochs=160)
