# The logits are averaged over the aggregator's tokens (the authors' classifier='avg_cls').
_base_ = '../glsim_vit_cub.py'

model = dict(head=dict(pooling='avg'))
