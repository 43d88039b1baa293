# The control: the middle of the image in place of the similarity's region.
_base_ = 'glsim_cub50.py'

model = dict(neck=dict(_delete_=True, type='CenterSelector', share=0.65))
