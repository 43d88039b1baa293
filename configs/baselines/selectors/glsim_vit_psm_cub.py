# GLSim with TransFG's part selection module: head-wise products of all layers' attention.
_base_ = '../../glsim_vit_cub.py'

model = dict(neck=dict(_delete_=True, type='PSMSelector', top_o=8))
