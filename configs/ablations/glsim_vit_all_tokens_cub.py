# The aggregator runs over all tokens of image and crop, not only their CLS tokens (the authors' reducer=None).
_base_ = '../glsim_vit_cub.py'

model = dict(head=dict(all_tokens=True))
