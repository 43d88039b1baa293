# Resize to 600 x 600, crop 448 px, flip: utils/data_utils.py of github.com/TACJu/TransFG.
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='Resize', scale=(600, 600), backend='pillow', interpolation='bilinear'),
    dict(type='RandomCrop', crop_size=448),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImage', on_unreadable='blank'),
    dict(type='Resize', scale=(600, 600), backend='pillow', interpolation='bilinear'),
    dict(type='CenterCrop', crop_size=448),
    dict(type='PackInputs'),
]
