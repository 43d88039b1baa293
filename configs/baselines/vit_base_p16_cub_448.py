# Plain ViT-B/16 on CUB-200-2011 with the schedule and pipeline of TransFG's authors (github.com/TACJu/TransFG).
_base_ = [
    '../_base_/models/vit_base_p16.py',
    '../_base_/datasets/cub.py',
    '../_base_/datasets/pipelines/plain_448.py',
    '../_base_/schedules/sgd_10k_steps.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(img_size=448, drop_path_rate=0.0),
    head=dict(num_classes=200, loss=dict(_delete_=True, type='CrossEntropyLoss')),  # no label smoothing: train.py
)
train_dataloader = dict(batch_size=16, drop_last=True, dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
