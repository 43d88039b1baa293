# An FCN head on the last map of GLSim's ViT-B/16, an auxiliary one on the map of layer 9.
_base_ = ['mmseg::fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py', '../_base_/glsim_vit_b16.py']

model = dict(
    pretrained=None,
    backbone=dict(_delete_=True, out_indices=(8, 11), **_base_.glsim_backbone),
    decode_head=dict(in_channels=_base_.glsim_channels, in_index=1),
    auxiliary_head=dict(in_channels=_base_.glsim_channels, in_index=0),
)
optim_wrapper = dict(_delete_=True, **_base_.glsim_optim_wrapper)
