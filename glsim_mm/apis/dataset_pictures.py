"""Pictures and a report of where a model looked in a data set, and what other selectors would select there."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, Compose, pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import Tensor, nn

from ..datasets.class_mapping import map_classes
from ..datasets.data_faults import left_out_of
from ..engine.hooks.prediction_panels import picture_name
from ..errors import GLSimError
from ..images.decoding import LOGGER
from ..images.photos import ImageItem, UnreadableImageError, read_photo
from ..images.selection_strength import SelectionSummary
from ..models import GLSimClassifier, RegionSelector
from ..models.necks import build_selector
from ..models.utils import check_attention, record_attention
from ..selectors import SELECTORS, check_selectors
from ..visualization import (
    ComparedImage,
    Prediction,
    ReportSettings,
    Selection,
    contact_sheet,
    draw_panel,
    draw_selector_grid,
    font_size,
    in_photo,
    legend_strip,
    sort_predictions,
    write_picture,
    write_report,
)
from ..visualization.from_sample import prediction_from_sample, to_rgb_image
from ..visualization.panel import shrunk
from .config_errors import explain_config_errors
from .dataset_overview import needs_classes
from .model import load_model
from .photo_pipeline import photo_from_input

SHEET = 'contact_sheet.png'
PANELS = 'panels'
SHEET_LIMIT = 60


@dataclass(frozen=True)
class PictureOptions:
    """What is drawn of a data set, and how.

    Attributes:
        num_images: How many images, spread evenly over the data set; 0 for all.
        split: ``'test'``, ``'val'`` or ``'train'``; all go through the test pipeline.
        side: Height of the images in pixels; see :func:`glsim_mm.visualization.draw_panel`.
        scaling: Of heat maps; see there.
        mistakes_first: Order the contact sheet as the report is ordered.
        only_mistakes: Draw wrong predictions only.

    Example::

        draw_test_set(cfg, 'checkpoint.pth', 'pictures', PictureOptions(num_images=24, only_mistakes=True))
    """

    num_images: int = 16
    split: str = 'test'
    side: int = 192
    scaling: str = 'linear'
    mistakes_first: bool = False
    only_mistakes: bool = False

    @property
    def look(self) -> dict[str, Any]:
        """Side and scaling, as the functions that draw take them."""
        return dict(side=self.side, scaling=self.scaling)


@dataclass
class WrittenPictures:
    """Files that were written: a panel for each image drawn, the contact sheet of them, and a report if asked for."""

    sheet: Path | None = None
    panels: list[Path] = field(default_factory=list)
    report: Path | None = None


def draw_test_set(
    cfg: Config,
    checkpoint: str,
    out_dir: str | Path,
    options: PictureOptions = PictureOptions(),
    html: str | Path | None = None,
) -> WrittenPictures:
    """Draw predictions on a data set: a PNG file for each image, one of all of them, and a report.

    The panels lie in ``panels/`` of ``out_dir`` at the paths of their images below the data root, beside it
    ``contact_sheet.png``, which holds the first 60. ``html`` is the file for the report.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
        dataset = _build_split(cfg, options.split)
        model = load_model(cfg, checkpoint)
        _number_classes(cfg, model, dataset, options.split, checkpoint)
        predictions, summary = [], SelectionSummary()
        for position, one in predict_at(model, dataset, _spread(dataset, options.num_images)):
            placed = dict(position=position, border=one.has_border)
            predictions.append(_Placed(**{**vars(one), 'image': _NO_IMAGE, **placed}))
            if one.boxes:
                summary.add(one.boxes[0], one.frame, one.similarity_map)
        if not predictions:
            raise GLSimError(f'no image of the {options.split} set could be read; check its files')
        if options.only_mistakes and all(prediction.truth is None for prediction in predictions):
            raise GLSimError('the data set has no labels, so mistakes are not known; leave out --only-mistakes')
        chosen = sort_predictions(predictions) if options.mistakes_first or options.only_mistakes else predictions
        if options.only_mistakes:
            chosen = [prediction for prediction in chosen if prediction.is_right is False]
        read = partial(_read_again, dataset=dataset)
        # In this scope to the end: pipelines may build modules by name as they run.
        written = _write_panels(chosen, dataset, Path(out_dir), options, read)
        if html is not None:
            settings = report_settings(cfg, checkpoint, model, **options.look, only_mistakes=options.only_mistakes)
            named = with_relative_paths(predictions, dataset)
            written.report = write_report(html, named, settings, read=read)[0]
    for warning in summary.warnings():
        LOGGER.warning(warning)
    return written


_NO_IMAGE = np.full((64, 64, 3), 228, np.uint8)


@dataclass
class _Placed(Prediction):
    """A prediction without its image, which is read again when it is drawn: a whole test set would fill the memory."""

    position: int = -1
    border: bool = False


def _read_again(prediction: Prediction, dataset: BaseDataset) -> Prediction:
    """A prediction with its image; grey if the file has gone since."""
    position = getattr(prediction, 'position', -1)
    found = next(_read_at(dataset, [position]), None)
    if found is None:
        return prediction
    photo = _photo_of(found[1]) if prediction.is_photo else None
    return replace(prediction, image=to_rgb_image(found[2]['inputs']) if photo is None else shrunk(photo))


def _build_split(cfg: Config, split: str) -> BaseDataset:
    """The data set ``'test'``, ``'val'`` or ``'train'`` of a config with the pipeline of its test set.

    Raises:
        GLSimError: If the config has no such data set, its data is not there, or it is a wrapper of others.
    """
    loaders = [cfg.get(f'{name}_dataloader') for name in (split, 'test')]
    if not all(loader and 'dataset' in loader for loader in loaders):
        raise GLSimError(f'the config needs {split}_dataloader and test_dataloader; choose a config with data sets')
    settings, pipeline = loaders[0].dataset, loaders[1].dataset.get('pipeline')
    if 'pipeline' not in settings or pipeline is None:
        raise GLSimError(f'the {split} set of the config wraps other data sets; choose another --split')
    sampler = dict(type='mmengine.DefaultSampler', shuffle=False)
    with explain_config_errors():
        loader = dict(batch_size=1, num_workers=0, sampler=sampler, dataset=dict(settings, pipeline=pipeline))
        dataset = Runner.build_dataloader(loader).dataset
    left_out = left_out_of(dataset)
    if left_out:
        LOGGER.warning('left out of the %s split: %s', split, left_out.summary())
    return dataset


def _number_classes(cfg: Config, model: nn.Module, dataset: BaseDataset, split: str, checkpoint: str) -> None:
    """Number the classes of a data set as the checkpoint does, unless it is there to measure image search."""
    known = model._dataset_meta.get('classes') or ()
    if known and needs_classes(cfg, split) and len(known) == getattr(getattr(model, 'head', None), 'num_classes', None):
        map_classes(dataset, model._dataset_meta, split, f'the checkpoint {checkpoint}', allow_missing=True)


def predict_at(model: nn.Module, dataset: BaseDataset, positions: Iterable[int]) -> Iterator[tuple[int, Prediction]]:
    """Position and prediction of some images of a data set; an unreadable one is left out.

    Args:
        model: Classifier of mmpretrain with its data preprocessor.
        dataset: Its pipeline ends with ``PackInputs``.
        positions: Which images.
    """
    for position, results, packed in _read_at(dataset, positions):
        with torch.no_grad():
            sample = model.test_step(pseudo_collate([packed]))[0]
        prediction = prediction_from_sample(packed['inputs'], sample, class_names(dataset))
        prediction = replace(prediction, annotated_box=_annotated_box(results), path=results.get('img_path'))
        photo = _photo_of(results)
        if photo is not None:
            prediction = in_photo(prediction, photo, photo_from_input(_moving_steps(dataset), photo.shape[:2]))
        yield position, prediction


def _photo_of(results: dict) -> np.ndarray | None:
    """The upright photo of a sample, (H, W, 3) uint8 RGB; None where it has no file that can be read."""
    try:
        return np.ascontiguousarray(read_photo(ImageItem(results['img_path'])).pixels[..., ::-1])
    except (KeyError, UnreadableImageError):
        return None


def _moving_steps(dataset: BaseDataset) -> list[Any]:
    """The steps of a data set's pipeline between loading and packing."""
    return [step for step in dataset.pipeline.transforms[:-1] if not type(step).__name__.startswith('Load')]


def class_names(dataset: BaseDataset) -> Sequence[str] | None:
    """Names of the classes of a data set, None if it has none."""
    return dataset.metainfo.get('classes') or None


def with_relative_paths(predictions: Sequence[Prediction], dataset: BaseDataset) -> list[Prediction]:
    """Predictions with paths below the data root, as a report shows them."""
    return [
        replace(item, path=picture_name(item.path, dataset, 0) + Path(item.path).suffix) if item.path else item
        for item in predictions
    ]


def _write_panels(
    chosen: Sequence[Prediction],
    dataset: BaseDataset,
    folder: Path,
    options: PictureOptions,
    read: Callable[[Prediction], Prediction],
) -> WrittenPictures:
    """A panel for each prediction and a sheet of the first of them; ``read`` gives them their images."""
    if not chosen:
        return WrittenPictures()
    paths = [folder / PANELS / f'{name}.png' for name in _distinct_names(chosen, dataset)]
    for prediction, path in zip(chosen, paths):
        write_picture(path, draw_panel(read(prediction), **options.look))
    on_sheet = [draw_panel(read(prediction), **options.look, legend=False) for prediction in chosen[:SHEET_LIMIT]]
    has_map = any(prediction.similarity_map is not None for prediction in chosen)
    has_annotations = any(prediction.annotated_box is not None for prediction in chosen)
    scaling = options.scaling if has_map else None
    width = on_sheet[0].shape[1]
    border = has_map and any(getattr(prediction, 'border', False) for prediction in chosen)
    size = font_size(options.side)
    footer = legend_strip(width, size, scaling, has_map, has_annotations, crops=has_map, border=border)
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


def report_settings(cfg: Config, checkpoint: object, model: nn.Module, **look: Any) -> ReportSettings:
    """What a report says of the model: names, not paths, as a report is passed on, and folders are private."""
    neck = getattr(model, 'neck', None)
    selector = type(neck).__name__ if isinstance(neck, RegionSelector) else ''
    return ReportSettings(Path(cfg.filename or '').name, Path(str(checkpoint)).name, selector, **look)


GRID = 'selectors.png'
OWN = 'own'  # the selector that the model was trained with


def compare_selectors(
    cfg: Config, checkpoint: str, selectors: Sequence[str], options: PictureOptions = PictureOptions()
) -> Iterator[ComparedImage]:
    """Select regions in images of a data set by several selectors; the encoder runs once per image.

    All of them take number of patches, box end and number of regions from the model's own selector. Random selection
    is the same in every call.

    Args:
        cfg: Config of a GLSim model and its data.
        checkpoint: Path or URL of the weights.
        selectors: Keys of :data:`glsim_mm.selectors.SELECTORS`, or ``'own'`` for the model's own selector, with its
            weights if it learns.
        options: Which images.

    Yields:
        What to draw; see :func:`glsim_mm.visualization.draw_selector_grid`.
    """
    check_selectors(selectors, [*SELECTORS, OWN])
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
        dataset = _build_split(cfg, options.split)
        model = load_model(cfg, checkpoint)
        necks = build_selectors(model, selectors)
        classes = class_names(dataset)
        # In this scope to the end: pipelines may build modules by name as they run.
        for index, results, packed in _read_at(dataset, _spread(dataset, options.num_images)):
            images = model.data_preprocessor(pseudo_collate([packed]))['inputs']
            box = _annotated_box(results)
            boxes = None if box is None else torch.as_tensor(box, device=images.device)[None]
            with torch.random.fork_rng():
                torch.manual_seed(index)
                selections = select_regions(model, necks, images, boxes)
            yield _compared(
                to_rgb_image(packed['inputs']), _caption(results, classes), selections, box, dataset, results
            )


def _compared(
    image: np.ndarray,
    name: str,
    selections: dict[str, Selection],
    box: np.ndarray | None,
    dataset: BaseDataset,
    results: dict,
) -> ComparedImage:
    """A row of the grid on the photo, where it and the way back to it are known, else on the network input."""
    every = np.concatenate([selection.boxes for selection in selections.values()])
    one = Prediction(image, name, 0.0, selected_boxes=every, annotated_box=box)
    photo = _photo_of(results)
    if photo is not None:
        one = in_photo(one, photo, photo_from_input(_moving_steps(dataset), photo.shape[:2]))
    ends = np.cumsum([len(selection.boxes) for selection in selections.values()])[:-1]
    parts = np.split(np.asarray(one.selected_boxes), ends)
    placed = {key: replace(value, boxes=part) for (key, value), part in zip(selections.items(), parts)}
    return ComparedImage(one.image, name, placed, one.annotated_box, one.map_area)


def draw_selectors(
    cfg: Config,
    checkpoint: str,
    selectors: Sequence[str],
    out_dir: str | Path,
    options: PictureOptions = PictureOptions(),
) -> Path:
    """Draw what :func:`compare_selectors` finds into ``selectors.png`` in a folder."""
    rows = list(compare_selectors(cfg, checkpoint, selectors, options))
    if not rows:
        raise GLSimError(f'no image of the {options.split} set could be read; check its files')
    picture = draw_selector_grid(rows, **options.look)
    return write_picture(Path(out_dir) / GRID, picture)


def build_selectors(model: nn.Module, names: Sequence[str]) -> dict[str, RegionSelector]:
    """Selectors by name, each once, that make boxes as a model's own selector does; see :func:`compare_selectors`."""
    if not isinstance(model, GLSimClassifier):
        raise GLSimError(
            f'{type(model).__name__} selects no regions, so there is nothing to compare; choose a config with a '
            'GLSimClassifier'
        )
    own = model.neck
    return {name: own if name == OWN else build_selector(name, **own.policy._asdict()) for name in names}


@torch.no_grad()
def select_regions(
    model: nn.Module, necks: dict[str, RegionSelector], images: Tensor, boxes: Tensor | None = None
) -> dict[str, Selection]:
    """Run the encoder once on one normalised image, (1, 3, H, W), and every selector on what it gives.

    ``boxes`` is its annotated box, (1, 4).
    """
    listens = any(neck.needs_attention for neck in necks.values())
    with record_attention() if listens else nullcontext() as attention:
        tokens = model.backbone(model.first_look(images))[-1]
    selections = {}
    for name, neck in necks.items():
        if attention is not None and neck.needs_attention:
            check_attention(attention, model.backbone, tokens, type(neck).__name__)
        regions = neck(tokens, images, model.layout, attention, boxes)
        scores = regions.scores.float().unflatten(1, regions.grid)[0].cpu().numpy()
        selections[name] = Selection(scores, regions.boxes.reshape(-1, 4).cpu().numpy())
    return selections


def _spread(dataset: BaseDataset, num_images: int) -> list[int]:
    """Positions spread evenly over a data set; all of them for 0."""
    number = min(num_images, len(dataset)) or len(dataset)
    return np.linspace(0, len(dataset) - 1, number).round().astype(int).tolist()


def _read_at(dataset: BaseDataset, positions: Iterable[int]) -> Iterator[tuple[int, dict, dict]]:
    """Position and sample of the images that can be read, before and after packing, which leaves boxes out."""
    *steps, pack = dataset.pipeline.transforms
    for position in positions:
        results = Compose(steps)(dataset.get_data_info(position))
        if results is not None:
            yield position, results, pack(dict(results))


def _annotated_box(results: dict) -> np.ndarray | None:
    """First annotated box of a sample, (4,), ``x0, y0, x1, y1`` in pixels; None if it has none."""
    boxes = np.asarray(results.get('gt_bboxes', ()), np.float32).reshape(-1, 4)
    return boxes[0] if len(boxes) else None


def _caption(results: dict, classes: Sequence[str] | None) -> str:
    """What to write below an image: its class, or its path where the class is unknown."""
    if 'gt_label' not in results:
        return str(results.get('img_path', ''))
    label = int(results['gt_label'])
    return classes[label] if classes is not None else str(label)
