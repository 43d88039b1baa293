# Plain ViT-B/16: the encoder of glsim_vit_base_p16.py with a linear classifier on its CLS token.
_base_ = ['glsim_vit_base_p16.py', 'linear_head.py']

model = dict(
    _delete_=True,
    type='ImageClassifier',
    backbone=dict(out_type='cls_token', **_base_.model.backbone),
    head=dict(num_classes=1000, in_channels=768, **_base_.linear_head),
)
