# GLSim with the patches at the centre of the image.
_base_ = '../../glsim_vit_cub.py'

model = dict(neck=dict(_delete_=True, type='CenterSelector', top_o=8))
