"""Which region suits a data set: candidates compared on its training split, by recognition and without training."""

import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch.utils.data import DataLoader, Dataset

from ..apis.config_errors import explain_config_errors
from ..apis.dataset_overview import build_dataset
from ..apis.model import load_pretrained
from ..apis.options import off_centre_steps
from ..errors import GLSimError
from ..images.photos import ImageItem
from ..models import GLSimClassifier, RegionSelector
from ..ops import patch_grid
from ..output_files import write_file, write_json
from ..search.pretrained_encoder import frozen_config, frozen_settings
from ..selectors import SELECTORS, check_selectors
from .quality_study import load_encoder, pipeline_with_boxes
from .region_study import (
    PHOTO,
    RegionRow,
    compare_hits,
    format_regions,
    held_out_hits,
    row_of,
    see_regions,
    study_regions,
)

PAPER = 'gls, O = 8'
CENTRE = 'centre, 65 %'
_FOLDS = 5
_CONFIG = """# Written by glsim choose-region, which compared regions of {photos} training photos, held out in turn:
{verdict}
_base_ = {base!r}

model = dict(neck=dict(_delete_=True, {neck}))
"""


class Choice(NamedTuple):
    """What :func:`choose_region` finds.

    Attributes:
        rows: The photo alone, and each candidate.
        best: Name of the best candidate.
        neck: Its fields, for ``model.neck``.
        num_photos: Photos that were held out, each once.
    """

    rows: list[RegionRow]
    best: str
    neck: dict[str, Any]
    num_photos: int

    @property
    def verdict(self) -> str:
        """What follows, in sentences; plainly where a region does not earn its pass, or its first look."""
        rows = {row.name: row for row in self.rows}
        best = rows[self.best]
        said = [f'Best: {self.best}, {best.accuracy:.1f} %.']
        for name, lack in (
            (PHOTO, 'a second pass is not worth its cost here'),
            (CENTRE, 'a fixed crop of the middle does as well, without looking where'),
        ):
            if name == self.best:
                said.append(f'{lack[0].upper()}{lack[1:]}.')
                continue
            gain = compare_hits(rows[name].hits, best.hits)
            clause = f'{gain.gain:+.1f} points over {name} (p = {gain.p:.2g})'
            said.append(f'{clause}.' if gain.p < 0.05 and gain.gain > 0 else f'{clause}: {lack}.')
        return ' '.join(said)


def region_candidates(num_patches: int) -> dict[str, dict[str, Any]]:
    """Regions to compare, fields of ``model.neck`` by name, for images of so many patches; the paper's is the first.

    The number of patches O is calibrated as a share of all.
    """
    gls = dict(type='GLSimSelector')
    found: dict[str, dict[str, Any]] = {PAPER: dict(gls, top_o=8)}
    for part in (16, 8, 4):
        top_o = max(1, round(num_patches / part))
        found[f'gls, O = {top_o}, inclusive'] = dict(gls, top_o=top_o, box_end='inclusive')
    top_o = max(1, round(num_patches / 8))
    wide = dict(gls, top_o=top_o, box_end='inclusive')
    found[f'gls, O = {top_o}, +15 %'] = dict(wide, margin=0.15)
    found[f'gls + attention, O = {top_o}'] = dict(wide, union_with='class-attention')
    top_o = max(1, round(num_patches * 3 / 16))
    found[f'maws, O = {top_o}, smoothed'] = dict(type='MAWSSelector', top_o=top_o, box_end='inclusive', smoothing=0.7)
    for coverage in (0.7, 0.8, 0.9):
        found[f'gls, {coverage:.0%} of the mass'] = dict(gls, coverage=coverage)
    found['gls, 65 % of the sides'] = dict(wide, min_share=0.65, max_share=0.65)
    found[CENTRE] = dict(type='CenterSelector', share=0.65)
    return found


def choose_for_config(
    cfg: Config,
    checkpoint: str | None = None,
    photos: Sequence[ImageItem] | None = None,
    num_photos: int | None = None,
    device: str | torch.device | None = None,
) -> Choice:
    """:func:`choose_region` for the model of a config, and its training split or photos of one's own.

    Without a checkpoint the encoder has what the config's backbone is initialised with.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
        pipeline = cfg.test_dataloader.dataset.pipeline
        if photos is None:
            loader = photos_of_config(cfg, 'train', pipeline, num_photos)
        else:
            loader = photos_of_items(photos, pipeline, num_photos)
        return choose_region(load_encoder(cfg, checkpoint, device), loader)


def choose_for_encoder(
    address: str,
    photos: Sequence[ImageItem],
    image_size: int | None = None,
    num_photos: int | None = None,
    device: str | torch.device | None = None,
) -> Choice:
    """:func:`choose_region` for a pretrained encoder, see :func:`glsim_mm.search.frozen_encoder`, and one's photos."""
    cfg = frozen_config(frozen_settings(address, image_size=image_size))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        loader = photos_of_items(photos, cfg.test_pipeline, num_photos)
        return choose_region(load_pretrained(cfg, device), loader)


def study_config(
    cfg: Config,
    checkpoint: str | None,
    necks: Mapping[str, Mapping[str, Any]],
    off_centre: bool = False,
    num_photos: int | None = None,
    device: str | torch.device | None = None,
) -> list[RegionRow]:
    """:func:`glsim_mm.analysis.region_study.study_regions` for a config's training and test photos.

    Args:
        cfg: Config of a GLSimClassifier; both splits go through its test pipeline.
        checkpoint: Weights; None for those that the backbone is initialised with.
        necks: Fields of ``model.neck`` by name.
        off_centre: Shift and shrink the test photos by :class:`glsim_mm.datasets.OffCentre`; training photos stay.
        num_photos: Of each split, spread evenly; None for all.
        device: Defaults to the GPU if there is one.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
        steps = pipeline_with_boxes(cfg.test_dataloader.dataset.pipeline, None)
        tested = off_centre_steps(cfg, steps) if off_centre else steps
        loaders = photos_of_config(cfg, 'train', steps, num_photos), photos_of_config(cfg, 'test', tested, num_photos)
        model = load_encoder(cfg, checkpoint, device)
        if not isinstance(model, GLSimClassifier):
            raise GLSimError(f'{type(model).__name__} looks once: choose a config with a GLSimClassifier')
        return study_regions(model, *loaders, {name: build_neck(fields) for name, fields in necks.items()})


def study_selectors(
    cfg: Config,
    checkpoint: str | None,
    selectors: Sequence[str],
    policies: Sequence[Mapping[str, Any]],
    off_centre: bool = False,
    num_photos: int | None = None,
    device: str | torch.device | None = None,
) -> str:
    """The table of :func:`study_config` for each selector, by its short name, with each policy."""
    check_selectors(selectors)
    necks = {}
    for name in selectors:
        for policy in policies:
            fields = ', '.join(f'{field} {value}' for field, value in policy.items() if value != 'exclusive')
            necks[f'{name}, {fields}' if fields else name] = {**SELECTORS[name].config, **policy}
    rows = study_config(cfg, checkpoint, necks, off_centre, num_photos, device)
    return format_regions(rows, rows[1].name)


def choose_region(
    model: GLSimClassifier, loader: DataLoader, candidates: Mapping[str, Mapping[str, Any]] | None = None
) -> Choice:
    """Compare regions by class means of photos that are held out; nothing is trained.

    Each photo is judged by the means of the other four fifths. Embeddings are those of
    :func:`glsim_mm.analysis.region_study.see_regions`.

    Args:
        model: In evaluation mode; its own neck and head do not matter.
        loader: Photos with labels, of two classes or more, each with five photos or more.
        candidates: Fields of ``model.neck`` by name, the one to compare with first. Defaults to
            :func:`region_candidates`.

    Raises:
        GLSimError: If the model has no second look, there are too few photos, or a selector needs boxes.
    """
    if not isinstance(model, GLSimClassifier):
        raise GLSimError(f'{type(model).__name__} looks once: choose a config with a GLSimClassifier')
    if candidates is None:
        delivered = loader.dataset[0]['inputs'].shape
        grid = patch_grid((delivered[-2], delivered[-1]), model.layout.patch_size)
        candidates = region_candidates(grid[0] * grid[1])
    necks = {name: build_neck(fields) for name, fields in candidates.items()}
    needing = [name for name, neck in necks.items() if neck.needs_boxes]
    if needing:
        raise GLSimError(f'{needing[0]} needs annotated boxes, which photos to recognise do not have')
    seen = see_regions(model, loader, necks)
    sizes = seen.labels.bincount()
    sizes = sizes[sizes > 0]
    if len(sizes) < 2 or sizes.min() < 2:
        raise GLSimError(
            f'{len(seen.labels)} photos of {len(sizes)} classes, the smallest with {sizes.min()}, are too few to '
            'compare regions: it takes two classes or more with two photos or more, better five'
        )
    hits = {name: held_out_hits(seen.embeddings(name), seen.labels, _FOLDS) for name in (PHOTO, *necks)}
    rows = [row_of(name, own, hits[next(iter(necks))], seen) for name, own in hits.items()]
    best = max(rows[1:], key=lambda row: row.accuracy).name
    return Choice(rows, best, dict(candidates[best]), len(seen.labels))


def build_neck(fields: Mapping[str, Any]) -> RegionSelector:
    """The selector of a config, in evaluation mode."""
    with DefaultScope.overwrite_default_scope('mmpretrain'), explain_config_errors():
        return MODELS.build(dict(fields)).eval()


class PhotosThrough(Dataset):
    """Samples, dicts with ``img_path`` and ``gt_label``, through a test pipeline; an unreadable photo is an error."""

    def __init__(self, samples: Sequence[dict], pipeline: Sequence[Mapping]) -> None:
        """``samples`` have what the pipeline reads."""
        self.samples, self._steps = list(samples), Compose(list(pipeline))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        return self._steps(dict(self.samples[index]))


def photos_of_config(cfg: Config, split: str, pipeline: Sequence[Mapping], num_photos: int | None = None) -> DataLoader:
    """Photos of a split of a config, spread evenly over it if only some are wanted, through a pipeline."""
    dataset = build_dataset(cfg, split)
    return _load([dataset.get_data_info(number) for number in _spread(len(dataset), num_photos)], pipeline)


def photos_of_items(
    items: Sequence[ImageItem], pipeline: Sequence[Mapping], num_photos: int | None = None
) -> DataLoader:
    """One's own photos, each with a label: the training split, or all of those that have no split."""
    known = [item for item in items if item.split in (None, 'train')]
    label_of = {name: number for number, name in enumerate(sorted({str(item.label) for item in known}))}
    chosen = [known[number] for number in _spread(len(known), num_photos)]
    return _load([dict(img_path=item.file, gt_label=label_of[str(item.label)]) for item in chosen], pipeline)


def _spread(count: int, wanted: int | None) -> list[int]:
    wanted = count if wanted is None else min(wanted, count)
    return torch.linspace(0, count - 1, wanted).round().long().tolist()


def _load(samples: Sequence[dict], pipeline: Sequence[Mapping]) -> DataLoader:
    with DefaultScope.overwrite_default_scope('mmpretrain'), explain_config_errors():
        return DataLoader(PhotosThrough(samples, pipeline), batch_size=32, collate_fn=pseudo_collate)


def format_choice(choice: Choice) -> str:
    """The table, what follows from it, and the fields of the best region."""
    neck = ', '.join(f'{name}={value!r}' for name, value in choice.neck.items())
    table = format_regions(choice.rows, choice.rows[1].name)
    said = textwrap.fill(f'{choice.num_photos} photos, held out in turn. {choice.verdict}', 80)
    return f'{table}\n\n{said}\n\nneck=dict({neck})'


def write_choice(choice: Choice, path: str | Path, config: str | None = None) -> Path:
    """Write a config with the best region that inherits ``config``; without one its fields as JSON."""
    if config is None:
        return write_json(path, choice.neck)
    neck = ', '.join(f'{name}={value!r}' for name, value in choice.neck.items())
    verdict = textwrap.fill(choice.verdict, 118, initial_indent='# ', subsequent_indent='# ')
    base = os.path.relpath(Path(config).absolute(), Path(path).absolute().parent)
    return write_file(path, _CONFIG.format(photos=choice.num_photos, verdict=verdict, base=base, neck=neck))
