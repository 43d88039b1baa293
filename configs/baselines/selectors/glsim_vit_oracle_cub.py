# GLSim with the annotated box as region: the upper bound of what localisation can give.
_base_ = '../../glsim_vit_cub.py'

model = dict(neck=dict(_delete_=True, type='OracleSelector'))

# The boxes move with the image and reach the model.
train_pipeline = _base_.train_pipeline
train_pipeline[2].type = 'RandomCropWithBoxes'
train_pipeline[-1].algorithm_keys = ('gt_bboxes',)
test_pipeline = _base_.test_pipeline
test_pipeline[-1].algorithm_keys = ('gt_bboxes',)

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
