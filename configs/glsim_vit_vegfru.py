# GLSim ViT-B/16 on VegFru at 224 px (published: 96.14 % top-1).
_base_ = [
    '_base_/models/glsim_vit_base_p16.py',
    '_base_/datasets/vegfru.py',
    '_base_/datasets/pipelines/medium_224.py',
    '_base_/schedules/sgd_50e.py',
    '_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=292))
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
