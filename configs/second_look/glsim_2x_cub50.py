# The paper's GLSim with crops from twice the pixels.
_base_ = 'glsim_cub50.py'

model = dict(second_look=dict(scale=2))
