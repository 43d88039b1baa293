# GLSim ViT-B/16 on DAF:re with background (anime) with the paper's "weak" augmentation.
_base_ = ['../glsim_vit_dafb.py', '../_base_/datasets/pipelines/weak_224.py']

model = dict(
    backbone=dict(drop_path_rate=0.0, branch_drop_rate=0.1),
    head=dict(drop_path_rate=0.0, branch_drop_rate=0.1, loss=dict(label_smooth_val=0.0)),
)
train_dataloader = dict(dataset=dict(pipeline=_base_.weak_pipeline))
