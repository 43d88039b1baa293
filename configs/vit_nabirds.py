# Plain ViT-B/16 on NABirds at 224 px (published: 87.36 % top-1), the twin of glsim_vit_nabirds.py.
_base_ = [
    '_base_/models/vit_base_p16.py',
    '_base_/datasets/nabirds.py',
    '_base_/datasets/pipelines/medium_224.py',
    '_base_/schedules/sgd_50e.py',
    '_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=555))
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
