# The region that training photos chose, from twice the pixels.
_base_ = 'maws_cub50.py'

model = dict(second_look=dict(scale=2))
