# The same, with the pyramid modulated by the similarity of CLS and patch tokens.
_base_ = 'retinanet_glsim_vit_coco.py'

model = dict(
    backbone=dict(with_similarity_map=True),
    neck=dict(
        _delete_=True,
        type='mmpretrain.SimilarityModulation',
        num_levels=5,
        neck=dict(
            type='mmpretrain.SimpleFeaturePyramid',
            in_channels=_base_.glsim_channels,
            scales=(2, 1, 0.5),
            num_outs=5,
        ),
    ),
)
