# No LayerNorm behind the aggregator (the authors' aggregator_norm=False).
_base_ = '../glsim_vit_cub.py'

model = dict(head=dict(final_norm=False))
