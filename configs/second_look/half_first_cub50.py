# A cheap first look at half the size finds the region, the second decides: 1.25 passes. O = 4 of 4 x 4 patches.
_base_ = 'glsim_cub50.py'

model = dict(neck=dict(top_o=4), second_look=dict(first=0.5))
