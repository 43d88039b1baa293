# The annotated box, from twice the pixels.
_base_ = 'box_cub50.py'

model = dict(second_look=dict(scale=2))
