# Plain ViT-B/16 on CUB-200-2011 under GLSim's recipe: the baseline of every comparison at 224 px.
_base_ = '../vit_cub.py'
