# The same, with the pyramid modulated by the similarity of CLS and patch tokens.
_base_ = 'retinanet_glsim_dinov2s_boxes.py'

model = dict(
    backbone=dict(with_similarity_map=True),
    neck=dict(
        _delete_=True,
        type='mmpretrain.SimilarityModulation',
        channels=_base_.channels,
        num_levels=5,
        neck=dict(
            type='mmpretrain.SimpleFeaturePyramid',
            in_channels=384,
            out_channels=_base_.channels,
            scales=(2, 1, 0.5),
            num_outs=5,
        ),
    ),
)
