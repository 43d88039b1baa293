# DINO (a DETR with denoising queries) over GLSim's ViT-B/16: four levels of strides 8 to 64.
_base_ = ['mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py', '../_base_/glsim_vit_b16.py']

model = dict(
    backbone=dict(_delete_=True, window_size=14, **_base_.glsim_backbone),
    neck=dict(
        _delete_=True,
        type='mmpretrain.SimpleFeaturePyramid',
        in_channels=_base_.glsim_channels,
        scales=(2, 1, 0.5),
        num_outs=4,
    ),
)
optim_wrapper = dict(_delete_=True, clip_grad=dict(max_norm=0.1, norm_type=2), **_base_.glsim_optim_wrapper)
