# GLSim with DINOv2's ViT-S/14 on CUB-200-2011 at 224 px.
_base_ = [
    '_base_/models/glsim_dinov2_small_p14.py',
    '_base_/datasets/cub_224.py',
    '_base_/schedules/sgd_50e.py',
    '_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=200))

# The encoder is trained already, aggregator and classifier start from nothing.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}))
