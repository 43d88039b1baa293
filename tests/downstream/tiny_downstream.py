"""Downstream configs on a handful of rendered fish, with narrow models."""

from pathlib import Path

from mmengine import Config

from glsim_mm.datasets import CUBFormat
from glsim_mm.datasets.box_export import export_boxes
from glsim_mm.images.demo_set import DemoSettings, render_demo

ROOT = Path(__file__).resolve().parents[2] / 'configs' / 'downstream'
SIDE, WIDTH = 96, 32


def render_fish(folder: Path) -> Path:
    """Two classes of fish with boxes as COCO annotations, and with masks."""
    render_demo(folder, DemoSettings(2, 8, 3, SIDE))
    for split in ('train', 'test'):
        dataset = CUBFormat(str(folder), split, pipeline=[])
        samples = [dataset.get_data_info(index) for index in range(len(dataset))]
        export_boxes(samples, dataset.CLASSES, folder / 'images', folder, split)
    return folder


def tiny_config(name: str, folder: Path, work_dir: Path) -> Config:
    """A config with its data, width and length cut down; its structure is as it was."""
    config = Config.fromfile(ROOT / name)
    backbone = config.model.backbone
    if backbone.type == 'mmpretrain.TimmViT':
        backbone.update(embed_dim=WIDTH, depth=4, num_heads=4, init_values=1.0)
    else:
        backbone.arch = dict(embed_dims=WIDTH, num_layers=4, num_heads=4, feedforward_channels=64)
    backbone.update(img_size=SIDE, init_cfg=None, drop_path_rate=0.0)
    if backbone.get('window_size'):
        backbone.window_size = 3  # 6 x 6 patches
    if isinstance(backbone.get('out_indices'), (list, tuple)):
        backbone.out_indices = list(range(4 - len(backbone.out_indices), 4))
    config.work_dir = str(work_dir)
    config.train_cfg = dict(type='IterBasedTrainLoop', max_iters=20, val_interval=100)
    config.param_scheduler = []
    config.optim_wrapper.optimizer.lr = 3e-3
    config.default_hooks.checkpoint = dict(type='CheckpointHook', interval=10, by_epoch=False)
    config.default_hooks.logger.interval = 1000
    config.log_level = 'WARNING'
    config.randomness = dict(seed=0)
    for kind in ('vis_backends', 'visualizer'):
        config.pop(kind, None)
    (_shrink_detector if 'mmdet' in name else _shrink_segmenter)(config, folder)
    return config


def _shrink_detector(config: Config, folder: Path) -> None:
    model, with_mask = config.model, 'mask_rcnn' in config.filename
    neck = model.neck.neck if 'neck' in model.neck else model.neck
    neck.update(in_channels=WIDTH, out_channels=WIDTH)
    if 'neck' in model.neck:
        model.neck.channels = WIDTH
    if 'roi_head' in model:
        model.rpn_head.update(in_channels=WIDTH, feat_channels=WIDTH)
        model.roi_head.bbox_roi_extractor.out_channels = WIDTH
        model.roi_head.bbox_head.update(in_channels=WIDTH, fc_out_channels=64, num_classes=2)
        model.train_cfg.rcnn.sampler.num = 64
        model.train_cfg.rpn_proposal.max_per_img = model.test_cfg.rpn.max_per_img = 100
        model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=20)  # 20 iterations make no detector
        if with_mask:
            model.roi_head.mask_roi_extractor.out_channels = WIDTH
            model.roi_head.mask_head.update(in_channels=WIDTH, conv_out_channels=WIDTH, num_convs=1, num_classes=2)
    else:
        model.bbox_head.num_classes = 2
    if 'encoder' in model:
        _shrink_transformer(model)
    elif 'roi_head' not in model:
        model.bbox_head.update(in_channels=WIDTH, feat_channels=WIDTH, stacked_convs=1)
    classes = tuple(line.split(' ', 1)[1] for line in (folder / 'classes.txt').read_text().splitlines())
    loading = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=with_mask),
        dict(type='Resize', scale=(SIDE, SIDE)),
    ]
    keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
    for split, loader in (('train', config.train_dataloader), ('test', config.test_dataloader)):
        loader.update(batch_size=4 if split == 'train' else 1, num_workers=0, persistent_workers=False)
        loader.pop('batch_sampler', None)
        loader.dataset = dict(
            type='CocoDataset',
            data_root=str(folder),
            ann_file=f'annotations/{split}.json',
            data_prefix=dict(img='images/'),
            metainfo=dict(classes=classes),
            test_mode=split == 'test',
            pipeline=[*loading, dict(type='PackDetInputs', meta_keys=keys)],
        )
    # At the end of an epoch mmengine sleeps for two seconds.
    config.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
    config.test_evaluator.ann_file = str(folder / 'annotations' / 'test.json')
    config.val_dataloader = config.val_cfg = config.val_evaluator = None


def _shrink_transformer(model: dict) -> None:
    for part in (model.encoder, model.decoder):
        part.num_layers = 2
        part.layer_cfg.ffn_cfg.feedforward_channels = 64
    model.neck.out_channels = 256  # mmdet's DINO has this width in its code
    model.num_queries = 20
    model.dn_cfg.group_cfg.num_dn_queries = 10
    model.test_cfg.max_per_img = 20


def _shrink_segmenter(config: Config, folder: Path) -> None:
    model, num_classes = config.model, 3  # the background is one
    model.data_preprocessor.size = (SIDE, SIDE)
    if 'neck' in model:
        model.neck.update(in_channels=[WIDTH] * 4, out_channels=WIDTH)
    heads = [model.decode_head, *([model.auxiliary_head] if 'auxiliary_head' in model else [])]
    for head in heads:
        many = isinstance(head.in_channels, (list, tuple))
        head.update(in_channels=[WIDTH] * 4 if many else WIDTH, channels=WIDTH, num_classes=num_classes)
        if 'embed_dims' in head:
            head.update(embed_dims=WIDTH, num_heads=4)
    model.test_cfg = dict(mode='whole')
    for split, loader in (('train', config.train_dataloader), ('test', config.test_dataloader)):
        loader.update(batch_size=4 if split == 'train' else 1, num_workers=0, persistent_workers=False)
        loader.dataset = dict(
            type='BaseSegDataset',
            data_root=str(folder),
            ann_file=f'splits/{split}.txt',
            data_prefix=dict(img_path='images', seg_map_path='masks'),
            img_suffix='.png',
            metainfo=dict(classes=('background', 'one', 'two'), palette=[[0] * 3, [1] * 3, [2] * 3]),
            pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')],
        )
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
