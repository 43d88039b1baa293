# GLSim with PIM's weakly supervised selection: a classifier of single patches, trained along.
_base_ = '../../glsim_vit_cub.py'

model = dict(neck=dict(_delete_=True, type='PIMSelector', num_classes=200, in_channels=768, top_o=8))
