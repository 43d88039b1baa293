# FFVT with ViT-B/16 (arXiv 2107.02341): the encoder of vit_base_p16.py with tokens of every layer in its last.
_base_ = ['vit_base_p16.py']

model = dict(backbone=dict(type='FeatureFusionViT', tokens_per_layer=12))
