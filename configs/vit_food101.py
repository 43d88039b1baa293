# Plain ViT-B/16 on Food-101 at 224 px, the twin of glsim_vit_food101.py.
_base_ = [
    '_base_/models/vit_base_p16.py',
    '_base_/datasets/food101.py',
    '_base_/datasets/pipelines/medium_224.py',
    '_base_/schedules/sgd_50e.py',
    '_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=101))
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
