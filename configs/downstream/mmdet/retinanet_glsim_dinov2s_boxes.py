# A detector of one kind of thing, whose boxes GLSim then names: RetinaNet over ViT-S/14 (DINOv2's architecture) at
# 168 px, small enough for a CPU. Data: boxes exported by
#   glsim export-boxes data/cub50 --single-class bird
# Weights of a GLSim classifier with this backbone:
#   --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/glsim_dinov2s_cub/epoch_50.pth
_base_ = 'retinanet_glsim_vit_coco.py'

data_root = 'data/cub50/'
classes = ('bird',)
size, channels = 168, 64

model = dict(
    data_preprocessor=dict(pad_size_divisor=14),
    backbone=dict(
        _delete_=True,
        type='mmpretrain.TimmViT',
        model_name='vit_small_patch14_dinov2',
        img_size=size,
        out_type='featmap',
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/glsim_dinov2s_cub/epoch_50.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=384, out_channels=channels),
    bbox_head=dict(
        num_classes=len(classes),
        in_channels=channels,
        feat_channels=channels,
        stacked_convs=2,
        anchor_generator=dict(strides=[7, 14, 28, 56, 112]),
    ),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(size, size), keep_ratio=False),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(size, size), keep_ratio=False),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/train.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=classes),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/test.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=classes),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/test.json')
test_evaluator = val_evaluator

optim_wrapper = dict(optimizer=dict(lr=3e-4))
train_cfg = dict(max_epochs=2, val_interval=2)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=30),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=2, convert_to_iter_based=True),
]
