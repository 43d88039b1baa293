# GLSim ViT-B/16 with Sub-center ArcFace on iNaturalist 2017, 2,544 / 2,545 classes, at 224 px.
_base_ = [
    '../_base_/models/glsim_vit_base_p16_embedding.py',
    '../_base_/datasets/retrieval/inat17_224.py',
    '../_base_/schedules/adamw_40e.py',
    '../_base_/default_runtime.py',
]

# Three centres per class for noisy labels, margin 0.5 radians (28.6 degrees) and scale 64: "Sub-center ArcFace",
# ECCV 2020, and arXiv 1801.07698.
loss = dict(type='MetricLearningLoss', name='SubCenterArcFaceLoss', sub_centers=3, margin=28.6, scale=64)
model = dict(head=dict(num_classes=2544, loss=loss))

# Classes have 9 to some 3,900 photos: without a balance rare ones would hardly be seen.
train_dataloader = dict(batch_sampler=dict(type='ClassBalancedBatchSampler', images_per_class=2))

# Centres start from nothing; lr 1e-3 is our choice, not tuned.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'head.loss_module': dict(lr_mult=100)}))
