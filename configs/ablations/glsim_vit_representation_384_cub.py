# An aggregator of half the encoder's width, behind a linear layer (the authors' representation_size).
_base_ = '../glsim_vit_cub.py'

model = dict(head=dict(representation_size=384))
