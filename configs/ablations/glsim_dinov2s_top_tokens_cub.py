# The selected tokens themselves take the place of the crop, so that the encoder runs once (select_top_k).
_base_ = './glsim_dinov2s_variant_cub.py'

model = dict(backbone=dict(crop_cls_token=False), neck=dict(out_type='tokens'))
