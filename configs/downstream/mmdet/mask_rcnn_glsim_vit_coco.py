# Mask R-CNN over GLSim's ViT-B/16 with ViTDet's pyramid (strides 4 to 64) and window attention.
_base_ = ['mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', '../_base_/glsim_vit_b16.py']

model = dict(
    backbone=dict(_delete_=True, window_size=14, **_base_.glsim_backbone),
    neck=dict(_delete_=True, type='mmpretrain.SimpleFeaturePyramid', in_channels=_base_.glsim_channels),
)
optim_wrapper = dict(_delete_=True, **_base_.glsim_optim_wrapper)
