# GLSim with FFVT's mutual attention weight selection.
_base_ = '../../glsim_vit_cub.py'

model = dict(neck=dict(_delete_=True, type='MAWSSelector', top_o=8))
