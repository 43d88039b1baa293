# GLSim with AF-Trans's selective attention collection: where heads agree, all layers weighed.
_base_ = '../../glsim_vit_cub.py'

model = dict(neck=dict(_delete_=True, type='SACMSelector', top_o=8))
