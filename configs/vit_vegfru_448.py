# Plain ViT-B/16 on VegFru at 448 px, the twin of glsim_vit_vegfru_448.py.
_base_ = [
    '_base_/models/vit_base_p16.py',
    '_base_/datasets/vegfru.py',
    '_base_/datasets/pipelines/medium_448.py',
    '_base_/schedules/sgd_50e.py',
    '_base_/default_runtime.py',
]

model = dict(backbone=dict(img_size=448), head=dict(num_classes=292))
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
