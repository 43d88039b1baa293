# The authors' variant of timm's models (glsvit_*): no final norm, a CLS token of their own for crops, LayerScale.
_base_ = '../glsim_dinov2s_cub.py'

model = dict(
    backbone=dict(final_norm=False, crop_cls_token=True),
    head=dict(final_norm=dict(type='LN', eps=1e-5), layer_cfgs=dict(layer_scale_init_value=1e-5)),
)
