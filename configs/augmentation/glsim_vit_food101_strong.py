# GLSim ViT-B/16 on Food-101 with strong augmentation: DeiT's, with mixup and cutmix.
_base_ = ['../glsim_vit_food101.py', '../_base_/datasets/pipelines/strong_224.py']

model = dict(train_cfg=dict(augments=_base_.mixup_cutmix))
data_preprocessor = dict(num_classes=101)  # mixed images have a weight for each class
train_dataloader = dict(dataset=dict(pipeline=_base_.strong_pipeline))
