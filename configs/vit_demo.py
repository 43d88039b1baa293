# Plain ViT under the recipe of glsim_vit_demo.py, for comparison.
_base_ = ['glsim_vit_demo.py', '_base_/models/linear_head.py']

model = dict(
    _delete_=True,
    type='ImageClassifier',
    backbone=dict(out_type='cls_token', **_base_.model.backbone),
    head=dict(num_classes=8, in_channels=64, **_base_.linear_head),
)
