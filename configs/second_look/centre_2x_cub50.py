# The middle of the image, from twice the pixels.
_base_ = 'centre_cub50.py'

model = dict(second_look=dict(scale=2))
