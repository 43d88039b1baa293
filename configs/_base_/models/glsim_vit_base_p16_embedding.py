# GLSim with ViT-B/16 and a head that is trained for image search (docs/guides/metric_learning.md).
_base_ = 'glsim_vit_base_p16.py'

model = dict(
    head=dict(
        _delete_=True,
        type='EmbeddingHead',
        in_channels=768,
        embedding_dims=512,  # the width that the losses' papers report; None: the aggregated token itself, 768
        num_layers=1,
        drop_path_rate=0.1,
        norm_cfg=dict(type='LN', eps=1e-12),
        normalize=True,
    ),
)
