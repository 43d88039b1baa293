# A cheap first look, and crops from twice the pixels.
_base_ = 'half_first_cub50.py'

model = dict(second_look=dict(scale=2))
