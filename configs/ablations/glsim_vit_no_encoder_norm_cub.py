# No LayerNorm behind the encoder, before selection and aggregator (the authors' encoder_norm=False).
_base_ = '../glsim_vit_cub.py'

model = dict(backbone=dict(final_norm=False))
