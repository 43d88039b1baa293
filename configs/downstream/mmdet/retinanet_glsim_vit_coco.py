# RetinaNet over GLSim's ViT-B/16: strides 8 to 128 out of one map of stride 16, window attention as in ViTDet.
_base_ = ['mmdet::retinanet/retinanet_r50_fpn_1x_coco.py', '../_base_/glsim_vit_b16.py']

model = dict(
    backbone=dict(_delete_=True, window_size=14, **_base_.glsim_backbone),
    neck=dict(
        _delete_=True,
        type='mmpretrain.SimpleFeaturePyramid',
        in_channels=_base_.glsim_channels,
        scales=(2, 1, 0.5),
        num_outs=5,
    ),
)
optim_wrapper = dict(_delete_=True, **_base_.glsim_optim_wrapper)
