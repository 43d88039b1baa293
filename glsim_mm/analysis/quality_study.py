"""Localisation quality of all region selectors on one encoder: every selector and O from the same forward pass."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from ..apis.config_errors import explain_config_errors
from ..apis.model import load_model, load_pretrained
from ..apis.options import off_centre_steps
from ..apis.pipeline_scale import find_scale
from ..compat.devices import check_device
from ..errors import GLSimError
from ..evaluation import MEASURES, selection_quality
from ..images.selection_strength import SelectionSummary
from ..models.classifiers.glsim_classifier import annotated_boxes
from ..models.necks import SelectionInputs, build_selector
from ..models.utils import check_attention, record_attention, token_layout
from ..ops import patch_grid
from ..output_files import write_file
from ..selectors import check_selectors

_RESIZES = ('Resize', 'ResizeEdge')
_CROPS = ('CenterCrop',)


class QualityRow(NamedTuple):
    """Means over the images with a box of one selector, O and image size; per cent, by :data:`MEASURES`."""

    size: int
    selector: str
    top_o: int
    num_images: int
    measures: dict[str, float]


def measure_selectors(
    cfg: Config,
    checkpoint: str | None,
    selectors: Sequence[str],
    top_os: Sequence[int] = (8,),
    sizes: Sequence[int] | None = None,
    num_images: int | None = None,
    box_end: str = 'exclusive',
    device: str | torch.device | None = None,
    off_centre: bool = False,
) -> Iterator[QualityRow]:
    """Measure selectors on a config's test set, which must have boxes; by size, selector and O.

    Without a checkpoint the encoder has what the config's backbone is initialised with. ``sizes`` are sides of the
    network input in pixels, by default the pipeline's own; ``num_images`` are spread evenly over the test set, whose
    photos ``off_centre`` shifts and shrinks by :class:`glsim_mm.datasets.OffCentre`.
    """
    check_selectors(selectors)
    device = check_device(device)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
        model = load_encoder(cfg, checkpoint, device)
        for size in sizes or (None,):
            delivered = None if size is None else int(size * find_scale(cfg))
            pipeline = pipeline_with_boxes(cfg.test_dataloader.dataset.pipeline, delivered)
            pipeline = off_centre_steps(cfg, pipeline) if off_centre else pipeline
            loader = build_loader(cfg, pipeline, num_images)
            yield from _measure_size(model, loader, list(selectors), list(top_os), box_end, device, find_scale(cfg))


def pipeline_with_boxes(pipeline: Sequence[Mapping], size: int | None) -> list[dict]:
    """Steps of a test pipeline that makes images of another size, in pixels, and hands annotated boxes on.

    The pipeline has square ``Resize`` and, if there is one, ``CenterCrop``; both keep their ratio.
    """
    steps = [dict(step) for step in pipeline]
    if steps[-1]['type'].split('.')[-1] != 'PackInputs':
        raise GLSimError('the test pipeline must end with PackInputs; correct the config')
    steps[-1]['algorithm_keys'] = tuple({*steps[-1].get('algorithm_keys', ()), 'gt_bboxes'})
    if size is None:
        return steps
    resizes = [step for step in steps if step['type'].split('.')[-1] in _RESIZES]
    crops = [step for step in steps if step['type'].split('.')[-1] in _CROPS]
    before = _side((crops or resizes or [{}])[-1])
    if before is None:
        raise GLSimError('--sizes needs a test pipeline with a square Resize or CenterCrop; correct the config')
    for step in resizes + crops:
        field = 'crop_size' if step in crops else 'scale'
        side = _side(step)
        if side is None:
            raise GLSimError(f'--sizes needs squares, but {step["type"]} has {field}={step[field]}; correct the config')
        step[field] = int(side * size / before) if step in crops or not crops else round(side * size / before)
    return steps


def _side(step: Mapping) -> int | None:
    value = step.get('crop_size', step.get('scale'))
    if isinstance(value, int):
        return value
    return value[0] if value is not None and len(value) == 2 and value[0] == value[1] else None


def load_encoder(cfg: Config, checkpoint: str | None, device: str | torch.device | None = None) -> nn.Module:
    """The model of a config with the weights of a checkpoint, or without one its encoder with its initial weights."""
    if checkpoint is not None:
        return load_model(cfg, checkpoint, device)
    with explain_config_errors():
        return load_pretrained(cfg, device)


def build_loader(cfg: Config, pipeline: Sequence[Mapping], num_images: int | None = None) -> DataLoader:
    """Batches of a config's test set through another pipeline; ``num_images`` are spread evenly over it."""
    scope = DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain'))
    with scope, explain_config_errors():
        dataset: Dataset = DATASETS.build({**cfg.test_dataloader.dataset, 'pipeline': pipeline})
    count = len(dataset) if num_images is None else min(num_images, len(dataset))
    chosen = torch.linspace(0, len(dataset) - 1, count).round().long().tolist()
    loader = cfg.test_dataloader
    return DataLoader(
        Subset(dataset, chosen),
        batch_size=loader.get('batch_size', 16),
        num_workers=loader.get('num_workers', 0),
        collate_fn=pseudo_collate,
    )


@torch.no_grad()
def _measure_size(
    model: nn.Module,
    loader: DataLoader,
    selectors: list[str],
    top_os: list[int],
    box_end: str,
    device: torch.device,
    scale: Fraction,
) -> Iterator[QualityRow]:
    sums = torch.zeros(len(selectors), len(top_os), len(MEASURES), dtype=torch.float64)
    summaries = {(name, top_o): SelectionSummary() for name in selectors for top_o in top_os}
    count, without, side = 0, 0, 0
    layout = getattr(model, 'layout', None) or token_layout(model.backbone)
    look = getattr(model, 'first_look', None) or (lambda images: images)
    for batch in loader:
        data = model.data_preprocessor(batch, training=False)
        found = [annotated_boxes([sample], device) for sample in data['data_samples']]
        kept = [index for index, box in enumerate(found) if box is not None]
        without += len(found) - len(kept)
        if not kept:
            continue
        boxes = torch.cat([box for box in found if box is not None])
        images = data['inputs'][kept]
        side = int(images.shape[-1] / scale)
        size = (images.shape[-2], images.shape[-1])
        with record_attention() as attention:
            tokens = model.backbone(look(images))[-1]
        grid = patch_grid(size, layout.patch_size)
        inputs = SelectionInputs(tokens, layout, grid, size, attention, boxes)
        for row, name in enumerate(selectors):
            sums[row] += _measure_selector(name, model.backbone, inputs, top_os, box_end, summaries).cpu()
        count += len(kept)
    if not count:
        raise GLSimError('no test image has an annotated box; use a data set with boxes, such as CUBFormat')
    if without:
        print_log(f'{without} images without a box are left out', logger='current', level=logging.WARNING)
    for (name, top_o), summary in summaries.items():
        for warning in summary.warnings():
            print_log(f'{name}, O = {top_o}: {warning}', logger='current', level=logging.WARNING)
    for row, name in enumerate(selectors):
        for column, top_o in enumerate(top_os):
            means = (100 * sums[row, column] / count).tolist()
            yield QualityRow(side, name, top_o, count, dict(zip(MEASURES, means)))


def _measure_selector(
    name: str,
    backbone: nn.Module,
    inputs: SelectionInputs,
    top_os: list[int],
    box_end: str,
    summaries: Mapping[tuple[str, int], SelectionSummary],
) -> Tensor:
    """Sums over the batch, float64 (len(top_os), measures); ``summaries`` by selector and O count its photos."""
    scores: Tensor | None = None
    rows = []
    for top_o in top_os:
        selector = build_selector(name, top_o=top_o, box_end=box_end)
        if scores is None:  # scores do not depend on O
            if selector.needs_attention and inputs.attention is not None:
                check_attention(inputs.attention, backbone, inputs.tokens, name)
            scores = selector.score_patches(inputs)
        selected = selector.select(scores, inputs).boxes[:, 0]
        frame = (0, 0, *inputs.image_size[::-1])
        for box, heat in zip(selected.cpu().numpy(), scores.float().cpu().numpy()):
            summaries[name, top_o].add(box, frame, heat)
        measures = selection_quality(
            scores, selected, inputs.boxes, inputs.grid, inputs.layout.patch_size, inputs.image_size
        )
        rows.append(measures.double().sum(dim=0))
    return torch.stack(rows)


def write_rows(rows: Sequence[QualityRow], folder: str | Path) -> Path:
    """Write ``selection_quality.csv`` into a folder."""
    path = Path(folder) / 'selection_quality.csv'
    lines = [','.join(('size', 'selector', 'top_o', 'num_images', *MEASURES))]
    for row in rows:
        values = [f'{row.measures[name]:.4f}' for name in MEASURES]
        lines.append(','.join((str(row.size), row.selector, str(row.top_o), str(row.num_images), *values)))
    return write_file(path, '\n'.join(lines) + '\n')


def format_rows(rows: Sequence[QualityRow]) -> str:
    """A table of 80 columns, per cent: a line per selector, O and size, and a legend."""
    heads = ('size', 'selector', 'O', 'energy', 'pointing', 'inside', 'covered', 'IoU')
    lines = ['{:>5} {:<16}{:>4}{:>9}{:>10}{:>9}{:>9}{:>8}'.format(*heads)]
    for row in rows:
        values = [row.measures[name] for name in MEASURES[:5]]
        numbers = ''.join(f'{value:{width}.1f}' for value, width in zip(values, (9, 10, 9, 9, 8)))
        lines.append(f'{row.size:>5} {row.selector:<16}{row.top_o:>4}{numbers}')
    if rows:
        lines.append(f'{rows[0].num_images} images; their boxes cover {rows[0].measures["area"]:.1f} % of an image')
    return '\n'.join(lines)
