# The attention of the aggregator misses a fifth of the selected tokens in training (the authors' token_drop).
_base_ = './glsim_dinov2s_top_tokens_cub.py'

model = dict(head=dict(token_drop_rate=0.2))
