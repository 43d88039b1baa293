# FFVT on CUB-200-2011. Schedule: defaults of train.py, and pipeline: utils/data_utils.py, of
# github.com/Markin-Wang/FFVT. The repository gives no command for CUB: batch and
# image sizes are those of TransFG, the learning rate is the default of train.py.
_base_ = [
    '../_base_/models/ffvt_vit_base_p16.py',
    '../_base_/datasets/cub.py',
    '../_base_/datasets/pipelines/plain_448.py',
    '../_base_/schedules/sgd_10k_steps.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(img_size=448, drop_path_rate=0.0),
    head=dict(num_classes=200, loss=dict(_delete_=True, type='CrossEntropyLoss')),  # no label smoothing: train.py
)
# Behind the crop the authors also jitter colours.
_base_.train_pipeline.insert(3, dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4))
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
