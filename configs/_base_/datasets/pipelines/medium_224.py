# The paper's "medium" augmentation at 224 px (arXiv 2407.12891): images become squares of int(1.34 * 224) = 300.
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='Resize', scale=300, backend='pillow', interpolation='bicubic'),
    dict(type='RandomCrop', crop_size=224),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    # torchvision's transforms expect RGB; the rest of the pipeline is BGR.
    dict(type='NumpyToPIL', to_rgb=True),
    dict(type='torchvision/TrivialAugmentWide'),
    dict(type='PILToNumpy', to_bgr=True),
    # The authors erase with 0 after normalisation, which is the mean colour before it (here in BGR).
    dict(
        type='RandomErasing',
        erase_prob=0.3,
        min_area_ratio=0.02,
        max_area_ratio=0.4,
        aspect_range=(0.3, 3.3),
        mode='const',
        fill_color=(104, 116, 124),
    ),
    dict(type='PackInputs'),
]

test_pipeline = [
    dict(type='LoadImage', on_unreadable='blank'),  # so that every model is tested on the same photos
    dict(type='Resize', scale=300, backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
