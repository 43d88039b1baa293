# GLSim with patches selected at random: what the second look gives without knowing where to look.
_base_ = '../../glsim_vit_cub.py'

model = dict(neck=dict(_delete_=True, type='RandomSelector', top_o=8))
