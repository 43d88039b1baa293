"""Pictures and a report of where a model looked in a data set."""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DefaultScope
from PIL import Image
from torch import nn

from ..engine.hooks.prediction_panels import picture_name
from ..errors import GLSimError
from ..models import RegionSelector
from ..visualization import (
    Prediction,
    ReportSettings,
    contact_sheet,
    draw_panel,
    font_size,
    legend_strip,
    render_report,
    sort_predictions,
)
from .model import load_model
from .predictions import build_split, predict_some

SHEET = 'contact_sheet.png'
PANELS = 'panels'
SHEET_LIMIT = 60


@dataclass
class PictureOptions:
    """What is drawn of a data set, and how.

    Attributes:
        num_images: How many images, spread evenly over the data set; 0 for all.
        split: ``'test'``, ``'val'`` or ``'train'``; all go through the test pipeline.
        side: Height of the images in pixels; see :func:`glsim_mm.visualization.draw_panel`.
        colormap: Of heat maps.
        scaling: Of heat maps, ``'rank'`` or ``'linear'``.
        mistakes_first: Order the contact sheet as the report is ordered.
        only_mistakes: Draw wrong predictions only.
    """

    num_images: int = 16
    split: str = 'test'
    side: int = 192
    colormap: str = 'cividis'
    scaling: str = 'rank'
    mistakes_first: bool = False
    only_mistakes: bool = False


@dataclass
class WrittenPictures:
    """Files that were written.

    Attributes:
        sheet: The contact sheet; None if there was no panel to put on it.
        panels: One for each image drawn.
        report: None if none was asked for.
    """

    sheet: Path | None = None
    panels: list[Path] = field(default_factory=list)
    report: Path | None = None


def draw_test_set(
    cfg: Config,
    checkpoint: str,
    out_dir: str | Path,
    options: PictureOptions | None = None,
    html: str | Path | None = None,
) -> WrittenPictures:
    """Draw predictions on a data set: a PNG file for each image, one of all of them, and a report.

    Args:
        cfg: Config of the model and its data.
        checkpoint: Path or URL of the weights.
        out_dir: Folder; the panels lie in ``panels/`` at the paths of their images below the data root, beside it
            ``contact_sheet.png``, which holds the first 60.
        options: Defaults to those of the class.
        html: File for the report. Defaults to None, no report.

    Returns:
        Paths.

    Raises:
        GLSimError: If the checkpoint, the data or a folder cannot be used.
    """
    options = options or PictureOptions()
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
        dataset = build_split(cfg, options.split)
        model = load_model(cfg, checkpoint)
        predictions = [prediction for _, prediction in predict_some(model, dataset, options.num_images)]
    if not predictions:
        raise GLSimError(f'no image of the {options.split} set could be read; check its files')
    if options.only_mistakes and all(prediction.truth is None for prediction in predictions):
        raise GLSimError('the data set has no labels, so mistakes are not known; leave out --only-mistakes')
    written = _write_panels(_choose(predictions, options), dataset, Path(out_dir), options)
    if html is not None:
        settings = ReportSettings(
            # Names, not paths: a report is passed on, and folders are no one's business.
            config=Path(cfg.filename or '').name,
            checkpoint=Path(str(checkpoint)).name,
            selector=_selector_name(model),
            side=options.side,
            colormap=options.colormap,
            scaling=options.scaling,
            only_mistakes=options.only_mistakes,
        )
        named = with_relative_paths(predictions, dataset)
        written.report = write_file(Path(html), render_report(named, settings).encode('utf-8'))
    return written


def _choose(predictions: Sequence[Prediction], options: PictureOptions) -> list[Prediction]:
    """What is drawn, in order."""
    if not options.mistakes_first and not options.only_mistakes:
        return list(predictions)
    ordered = sort_predictions(predictions)
    return [prediction for prediction in ordered if not options.only_mistakes or prediction.is_right is False]


def with_relative_paths(predictions: Sequence[Prediction], dataset: BaseDataset) -> list[Prediction]:
    """Predictions with paths below the data root, as a report shows them."""
    return [
        replace(item, path=picture_name(item.path, dataset, 0) + Path(item.path).suffix) if item.path else item
        for item in predictions
    ]


def write_file(path: Path, content: bytes) -> Path:
    """Write a file and the folders above it.

    Args:
        path: Where.
        content: What.

    Returns:
        ``path``.

    Raises:
        GLSimError: If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise GLSimError(f'{path} cannot be written ({error.strerror}); choose another path') from error
    return path


def write_picture(path: Path, picture: np.ndarray) -> Path:
    """Write a picture, (H, W, 3) uint8 RGB, as PNG; see :func:`write_file`."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, 'PNG')
    return write_file(path, buffer.getvalue())


def _write_panels(
    chosen: Sequence[Prediction], dataset: BaseDataset, folder: Path, options: PictureOptions
) -> WrittenPictures:
    """A panel for each prediction and a sheet of the first of them."""
    if not chosen:
        return WrittenPictures()
    paths = [folder / PANELS / f'{name}.png' for name in _distinct_names(chosen, dataset)]
    for prediction, path in zip(chosen, paths):
        write_picture(path, draw_panel(prediction, options.side, options.colormap, options.scaling))
    on_sheet = [
        draw_panel(prediction, options.side, options.colormap, options.scaling, legend=False)
        for prediction in chosen[:SHEET_LIMIT]
    ]
    has_map = any(prediction.similarity_map is not None for prediction in chosen)
    has_annotations = any(prediction.annotated_box is not None for prediction in chosen)
    colors = options.colormap if has_map else None
    width = on_sheet[0].shape[1]
    footer = legend_strip(width, font_size(options.side), colors, options.scaling, has_map, has_annotations)
    sheet = write_picture(folder / SHEET, contact_sheet(on_sheet, footer=footer))
    return WrittenPictures(sheet, paths)


def _distinct_names(predictions: Sequence[Prediction], dataset: BaseDataset) -> list[str]:
    """Paths of pictures without suffix; images whose paths differ in the suffix only keep it."""
    paths = [prediction.path or f'{index:05d}' for index, prediction in enumerate(predictions)]
    names = [picture_name(path, dataset, 0) for path in paths]
    counts = Counter(names)
    return [
        name if counts[name] == 1 else f'{name}{Path(path).suffix}_{index}'
        for index, (name, path) in enumerate(zip(names, paths))
    ]


def _selector_name(model: nn.Module) -> str:
    """What selects the regions of a model, empty for one that selects none."""
    neck = getattr(model, 'neck', None)
    return type(neck).__name__ if isinstance(neck, RegionSelector) else ''
