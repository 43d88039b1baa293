# GLSim with the CLS token's attention of the last layer in place of global-local similarity.
_base_ = '../../glsim_vit_cub.py'

model = dict(neck=dict(_delete_=True, type='ClassAttentionSelector', top_o=8))
