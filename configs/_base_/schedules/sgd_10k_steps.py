# TransFG's schedule (train.py of github.com/TACJu/TransFG, which FFVT shares): 10000 steps of batches of 16, warm-up
# over 500, cosine to 0. 27 epochs of CUB are 10098 steps; those after 10000 have learning rate 0.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='SGD', lr=0.03, momentum=0.9, weight_decay=0.0),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 500, by_epoch=False, begin=0, end=500),
    dict(type='CosineAnnealingLR', T_max=9500, eta_min=0, by_epoch=False, begin=500, end=10000),
]
train_cfg = dict(by_epoch=True, max_epochs=27, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=16)
