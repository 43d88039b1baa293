# A folder of images at 448 px with the paper's "medium" augmentation.
_base_ = ['custom.py', 'pipelines/medium_448.py']

# Large photos are decoded at a fraction of their size (docs/studies/performance.md).
train_pipeline = [dict(type='LoadImage', min_side=600), *_base_.train_pipeline[1:]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
