# CUB-200-2011 at 448 px with the paper's "medium" augmentation.
_base_ = ['cub.py', 'pipelines/medium_448.py']

train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
