# GLSim with three regions: the largest groups of the 16 most similar patches. Each costs one more pass of the encoder.
_base_ = 'glsim_vit_cub.py'

model = dict(neck=dict(top_o=16, num_regions=3, region_method='components'))
