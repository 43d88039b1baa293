# Plain ViT-B/16 on iNaturalist 2017 at 224 px (published: 69.38 % top-1), the twin of glsim_vit_inat17.py.
_base_ = ['glsim_vit_inat17.py', '_base_/models/linear_head.py']

model = dict(
    _delete_=True,
    type='ImageClassifier',
    backbone=dict(out_type='cls_token', **_base_.model.backbone),
    head=dict(
        num_classes=_base_.model.head.num_classes, in_channels=_base_.model.head.in_channels, **_base_.linear_head
    ),
)
