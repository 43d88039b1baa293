# Plain ViT-B/16 on VegFru at 224 px, the twin of glsim_vit_vegfru.py.
_base_ = ['glsim_vit_vegfru.py', '_base_/models/linear_head.py']

model = dict(
    _delete_=True,
    type='ImageClassifier',
    backbone=dict(out_type='cls_token', **_base_.model.backbone),
    head=dict(
        num_classes=_base_.model.head.num_classes, in_channels=_base_.model.head.in_channels, **_base_.linear_head
    ),
)
