# The paper's recipe: GLSim ViT-B/16 on CUB-200-2011 at 224 px (published: 90.93 % top-1).
_base_ = [
    '_base_/models/glsim_vit_base_p16.py',
    '_base_/datasets/cub_224.py',
    '_base_/schedules/sgd_50e.py',
    '_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=200))
