# TransFG with ViT-B/16 (arXiv 2103.07976): the encoder of vit_base_p16.py with part selection, and a contrastive loss.
_base_ = ['vit_base_p16.py']

model = dict(
    backbone=dict(type='PartSelectionViT'),
    head=dict(
        _delete_=True,
        type='PartContrastiveHead',
        num_classes=1000,
        in_channels=768,
        margin=0.4,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
)
