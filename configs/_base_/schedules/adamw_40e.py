# For embeddings: AdamW as in the code of Hyp-ViT, which trains ViTs for metric learning (arXiv 2203.10833,
# github.com/htdt/hyp_metric): lr 1e-5, weight decay 0.01, gradient norm <= 3. Warm-up, cosine, 40 epochs of batches
# of 64 and the tenfold lr of the head, which starts from nothing, are our choice, not tuned.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-5, weight_decay=0.01),
    clip_grad=dict(max_norm=3.0),
    paramwise_cfg=dict(custom_keys={'head': dict(lr_mult=10)}),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-8, by_epoch=True, begin=1, end=40, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=40, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# --auto-scale-lr scales lr with the total batch size from here.
auto_scale_lr = dict(base_batch_size=64)
