# The logits are the largest over the aggregator's tokens (the authors' classifier='max_cls').
_base_ = '../glsim_vit_cub.py'

model = dict(head=dict(pooling='max'))
