# GLSim ViT-B/16 on Stanford Cars at 224 px.
_base_ = [
    '_base_/models/glsim_vit_base_p16.py',
    '_base_/datasets/cars.py',
    '_base_/datasets/pipelines/medium_224_cars.py',
    '_base_/schedules/sgd_50e.py',
    '_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=196))
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
