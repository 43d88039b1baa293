# The paper's "weak" augmentation at 224 px (arXiv 2407.12891): square, random crop, flip. Testing is as with "medium".
weak_pipeline = [
    dict(type='LoadImage'),
    dict(type='Resize', scale=300, backend='pillow', interpolation='bicubic'),
    dict(type='RandomCrop', crop_size=224),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
