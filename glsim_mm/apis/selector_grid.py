"""What several selectors would select in the same images, by the tokens of one trained encoder."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from ..errors import GLSimError
from ..models import GLSimClassifier, RegionSelector
from ..models.necks import build_selector
from ..models.utils import check_attention, record_attention
from ..selectors import SELECTORS, check_selectors
from ..visualization import ComparedImage, Selection, draw_selector_grid
from ..visualization.from_sample import to_rgb_image
from .model import load_model
from .pictures import PictureOptions, write_picture
from .predictions import annotated_box, build_split, class_names, image_name, read_some

GRID = 'selectors.png'
OWN = 'own'  # the selector that the model was trained with


def compare_selectors(
    cfg: Config, checkpoint: str, selectors: Sequence[str], options: PictureOptions | None = None
) -> Iterator[ComparedImage]:
    """Select regions in images of a data set by several selectors; the encoder runs once per image.

    All of them take number of patches, box end and number of regions from the model's own selector. Random selection
    is the same in every call.

    Args:
        cfg: Config of a GLSim model and its data.
        checkpoint: Path or URL of the weights.
        selectors: Keys of :data:`glsim_mm.selectors.SELECTORS`, or ``'own'`` for the model's own selector, with its
            weights if it learns.
        options: Which images. Defaults to those of the class.

    Yields:
        What to draw; see :func:`glsim_mm.visualization.draw_selector_grid`.

    Raises:
        GLSimError: If a selector is unknown or lacks what it needs, or checkpoint or data cannot be used.
    """
    options = options or PictureOptions()
    check_selectors(selectors, [*SELECTORS, OWN])
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
        dataset = build_split(cfg, options.split)
        model = load_model(cfg, checkpoint)
        necks = build_selectors(model, selectors)
        # In this scope to the end: pipelines may build modules by name as they run.
        yield from _compare(model, necks, dataset, options.num_images)


def draw_selectors(
    cfg: Config, checkpoint: str, selectors: Sequence[str], out_dir: str | Path, options: PictureOptions | None = None
) -> Path:
    """Draw what :func:`compare_selectors` finds.

    Args:
        cfg: Config of a GLSim model and its data.
        checkpoint: Path or URL of the weights.
        selectors: See :func:`compare_selectors`.
        out_dir: Folder; the picture is ``selectors.png``.
        options: Which images, and how they are drawn. Defaults to those of the class.

    Returns:
        Of the picture.

    Raises:
        GLSimError: See :func:`compare_selectors`; or if no image can be read or the picture cannot be written.
    """
    options = options or PictureOptions()
    rows = list(compare_selectors(cfg, checkpoint, selectors, options))
    if not rows:
        raise GLSimError(f'no image of the {options.split} set could be read; check its files')
    picture = draw_selector_grid(rows, options.side, options.colormap, options.scaling)
    return write_picture(Path(out_dir) / GRID, picture)


def build_selectors(model: nn.Module, names: Sequence[str]) -> dict[str, RegionSelector]:
    """Build selectors that make boxes as a model's own selector does.

    Args:
        model: A GLSim model.
        names: See :func:`compare_selectors`.

    Returns:
        By name, each once.

    Raises:
        GLSimError: If the model has no selector.
    """
    if not isinstance(model, GLSimClassifier):
        raise GLSimError(
            f'{type(model).__name__} selects no regions, so there is nothing to compare; choose a config with a '
            'GLSimClassifier'
        )
    own = model.neck
    shared = dict(top_o=own.top_o, box_end=own.box_end, num_regions=own.num_regions, region_method=own.region_method)
    return {name: own if name == OWN else build_selector(name, **shared) for name in names}


@torch.no_grad()
def select_regions(
    model: nn.Module, necks: dict[str, RegionSelector], images: Tensor, boxes: Tensor | None = None
) -> dict[str, Selection]:
    """Run the encoder once on one image, and every selector on what it gives.

    Args:
        model: A GLSim model.
        necks: By name.
        images: One normalised image, (1, 3, H, W).
        boxes: Its annotated box, (1, 4).

    Returns:
        By name.

    Raises:
        GLSimError: If the encoder cannot give the attention that a selector needs, or the box is missing.
    """
    listens = any(neck.needs_attention for neck in necks.values())
    with record_attention() if listens else nullcontext() as attention:
        tokens = model.backbone(images)[-1]
    selections = {}
    for name, neck in necks.items():
        if attention is not None and neck.needs_attention:
            check_attention(attention, model.backbone, tokens, type(neck).__name__)
        regions = neck(tokens, images, model.layout, attention, boxes)
        scores = regions.scores.float().unflatten(1, regions.grid)[0].cpu().numpy()
        selections[name] = Selection(scores, regions.boxes.reshape(-1, 4).cpu().numpy())
    return selections


def _compare(
    model: nn.Module, necks: dict[str, RegionSelector], dataset: BaseDataset, num_images: int
) -> Iterator[ComparedImage]:
    classes = class_names(dataset)
    for index, results, packed in read_some(dataset, num_images):
        images = model.data_preprocessor(pseudo_collate([packed]))['inputs']
        box = annotated_box(results)
        boxes = None if box is None else torch.as_tensor(box, device=images.device)[None]
        with torch.random.fork_rng():
            torch.manual_seed(index)
            selections = select_regions(model, necks, images, boxes)
        yield ComparedImage(to_rgb_image(packed['inputs']), image_name(results, classes), selections, box)
