# A small GLSim from scratch on the rendered demo set, in minutes on CPU; what quickstart.sh --from-scratch trains.
_base_ = [
    '_base_/models/glsim_vit_base_p16.py',
    '_base_/datasets/demo.py',
    '_base_/schedules/sgd_50e.py',
    '_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=64, num_layers=4, num_heads=4, feedforward_channels=128),
        img_size=64,
        patch_size=8,
        drop_path_rate=0.0,
        init_cfg=None,
    ),
    head=dict(num_classes=8, in_channels=64, num_heads=4, drop_path_rate=0.0),
)

# From scratch in few iterations: AdamW instead of the paper's SGD, which is for fine-tuning.
max_epochs = 12
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=0, end=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
auto_scale_lr = dict(base_batch_size=32)

default_hooks = dict(checkpoint=dict(interval=4))
