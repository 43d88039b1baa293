# The paper's recipe at 448 px.
_base_ = [
    '_base_/models/glsim_vit_base_p16.py',
    '_base_/datasets/cub_448.py',
    '_base_/schedules/sgd_50e.py',
    '_base_/default_runtime.py',
]

model = dict(backbone=dict(img_size=448), head=dict(num_classes=200))
