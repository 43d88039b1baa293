# No second look: the same head on the image's CLS token alone, at one pass.
_base_ = 'glsim_cub50.py'

model = dict(neck=dict(out_type='none'))
