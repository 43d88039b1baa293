# CAL ResNet-101 under the recipe of glsim_vit_cub.py. Epochs and weight decay are those that GLSim's authors give CAL
# (github.com/arkel23/GLSim, configs/methods/cal.yaml).
_base_ = [
    '../_base_/models/cal_resnet101.py',
    '../_base_/datasets/cub_224.py',
    '../_base_/schedules/sgd_50e.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=200))
optim_wrapper = dict(optimizer=dict(weight_decay=1e-5))
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = 160
train_cfg = dict(max_epochs=160)
