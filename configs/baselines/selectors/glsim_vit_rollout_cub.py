# GLSim with attention rollout, the selection of RAMS-Trans and DCAL.
_base_ = '../../glsim_vit_cub.py'

model = dict(neck=dict(_delete_=True, type='RolloutSelector', top_o=8))
