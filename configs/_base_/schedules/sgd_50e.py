# The paper's schedule (arXiv 2407.12891): SGD without weight decay, 50 epochs of batches of 8, cosine, warm-up
# from 1e-6. The authors choose lr from {0.03, 0.01, 0.003, 0.001} per data set; 0.01 is their choice for CUB.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0),
    clip_grad=dict(max_norm=1.0),
)

# As in the authors' scheduler (timm's) the cosine counts from the first iteration, underneath the warm-up.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, by_epoch=False, begin=0, end=500),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-5,
        by_epoch=True,
        begin=0,
        end=50,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(by_epoch=True, max_epochs=50, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# --auto-scale-lr scales lr with the total batch size from here.
auto_scale_lr = dict(base_batch_size=8)
