# TransFG on CUB-200-2011 under the recipe of ../glsim_vit_cub.py, for a fair comparison.
_base_ = [
    '../_base_/models/transfg_vit_base_p16.py',
    '../_base_/datasets/cub_224.py',
    '../_base_/schedules/sgd_50e.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=200))
