# Crops at half the size: a quarter of the patches in the second pass, in training and at test time.
_base_ = '../glsim_vit_cub.py'

model = dict(neck=dict(crop_size=112))
