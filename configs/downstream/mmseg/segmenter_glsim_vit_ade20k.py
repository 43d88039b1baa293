# Segmenter (mask transformer) over GLSim's ViT-B/16.
_base_ = ['mmseg::segmenter/segmenter_vit-b_mask_8xb1-160k_ade20k-512x512.py', '../_base_/glsim_vit_b16.py']

model = dict(pretrained=None, backbone=dict(_delete_=True, **_base_.glsim_backbone))
optim_wrapper = dict(_delete_=True, **_base_.glsim_optim_wrapper)
