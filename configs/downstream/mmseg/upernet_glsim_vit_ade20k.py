# UPerNet over GLSim's ViT-B/16: maps of four layers, brought to strides 4 to 32 by mmseg's own neck.
_base_ = ['mmseg::vit/vit_vit-b16-ln_mln_upernet_8xb2-160k_ade20k-512x512.py', '../_base_/glsim_vit_b16.py']

model = dict(
    pretrained=None,
    backbone=dict(_delete_=True, out_indices=(2, 5, 8, 11), **_base_.glsim_backbone),
)
optim_wrapper = dict(_delete_=True, **_base_.glsim_optim_wrapper)
