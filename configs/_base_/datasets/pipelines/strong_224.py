# Strong augmentation at 224 px: DeiT's (arXiv 2012.12877, table 9). Testing is as with "medium".
strong_pipeline = [
    dict(type='LoadImage'),
    dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic'),
    ),
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='rand',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=[104, 116, 124],
        fill_std=[57, 57, 58],
    ),
    dict(type='PackInputs'),
]

# One of the two for each batch.
mixup_cutmix = [dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]
