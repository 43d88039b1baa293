# No crop: the aggregator's block runs on the image's CLS token alone (the authors' dynamic_anchor=False).
_base_ = '../glsim_vit_cub.py'

model = dict(neck=dict(out_type='none'))
