# Crops as training images of their own and none at test time, at the cost of a plain ViT (arXiv 2605.18700).
_base_ = '../glsim_vit_cub.py'

model = dict(
    head=dict(sequence_weights=dict(image=1.0, crop=1.0)),
    test_cfg=dict(crop='off'),
)
