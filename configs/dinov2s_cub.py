# Plain DINOv2 ViT-S/14 under the recipe of glsim_dinov2s_cub.py, for a fair comparison.
_base_ = [
    '_base_/models/dinov2_small_p14.py',
    '_base_/datasets/cub_224.py',
    '_base_/schedules/sgd_50e.py',
    '_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=200))

optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}))
