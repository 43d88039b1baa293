"""Pictures of where a pretrained encoder looks in photos, without training."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..apis.dataset_pictures import PANELS, SHEET, SHEET_LIMIT, WrittenPictures
from ..errors import GLSimError
from ..images.photos import ImageItem, read_photo
from ..images.preparing import LOGGER
from ..images.selection_strength import SelectionSummary
from ..progress import ProgressBar
from ..visualization import Prediction, contact_sheet, draw_panel, font_size, in_photo, write_picture
from ..visualization.from_sample import to_rgb_image
from ..visualization.layout import stack, text_strip
from .encoder import Encoder


def draw_photos(
    encoder: Encoder,
    items: Sequence[ImageItem],
    out_dir: str | Path,
    side: int = 192,
    scaling: str = 'linear',
    batch_size: int = 16,
    num_workers: int = 2,
    progress: bool = True,
) -> tuple[WrittenPictures, list[str]]:
    """Draw photos with the similarity map, the selected region and its crop.

    The panels lie in ``panels/`` of the folder at the paths of their photos below the folder in which these were found,
    beside it ``contact_sheet.png``, which holds the first 60.

    Args:
        encoder: Of a GLSim model, such as :func:`~glsim_mm.search.frozen_encoder` gives.
        items: Photos, see :func:`~glsim_mm.images.photos.find_images`.
        out_dir: The folder.
        side: Height of the pictures in pixels.
        scaling: Of heat maps, see :func:`~glsim_mm.visualization.draw_panel`.
        batch_size: Photos per pass.
        num_workers: Processes that read photos.
        progress: Show how many photos are drawn.

    Returns:
        The files, and the photos that cannot be read, with the reasons.

    Raises:
        GLSimError: If the encoder selects no regions, or no photo can be read.
    """
    if not encoder.has_regions:
        raise GLSimError(f'{encoder.description} selects no regions, so there is nothing to show of it')
    written, sheet, unreadable = WrittenPictures(), [], list[str]()
    summary = SelectionSummary()
    names = _panel_names(items)
    with ProgressBar(len(items), 'drawing', progress) as bar:
        for batch in encoder.load_batches(items, None, batch_size, num_workers):
            if batch.inputs is None:
                unreadable += [f'{items[one.position].path}: {one.error}' for one in batch.images]
                bar.advance(len(batch.images))
                continue
            with torch.inference_mode():
                features = encoder.forward(batch.inputs)
            boxes, maps = (part.float().cpu().numpy() for part in (features.boxes, features.maps))
            for row, image in enumerate(batch.images):
                looked = _prediction(batch.inputs[row], items[image.position], boxes[row], maps[row])
                summary.add(boxes[row], looked.frame, maps[row])
                photo = read_photo(items[image.position], encoder.max_pixels, encoder.pipeline.background)
                pixels = np.ascontiguousarray(photo.pixels[..., ::-1])
                looked = in_photo(looked, pixels, image.matrix, image.part)
                panel = _with_name(looked, names[image.position], side, scaling)
                written.panels.append(write_picture(Path(out_dir, PANELS, f'{names[image.position]}.png'), panel))
                sheet += [panel] if len(sheet) < SHEET_LIMIT else []
                bar.advance()
    for warning in summary.warnings():
        LOGGER.warning(warning)
    if not sheet:
        raise GLSimError(f'no photo can be read; the first, {unreadable[0]}')
    written.sheet = write_picture(Path(out_dir, SHEET), contact_sheet(sheet))
    return written, unreadable


def spread_evenly(items: Sequence[ImageItem], number: int) -> list[ImageItem]:
    """So many of the items, from the first to the last; 0 for all."""
    if not number or number >= len(items):
        return list(items)
    return [items[place] for place in np.linspace(0, len(items) - 1, number).round().astype(int)]


def _prediction(inputs: torch.Tensor, item: ImageItem, box: np.ndarray, heat: np.ndarray) -> Prediction:
    """What is drawn; an encoder as it is predicts no class."""
    image = to_rgb_image(inputs)
    return Prediction(image, '', float('nan'), selected_box=box, similarity_map=heat, path=item.path)


def _with_name(looked: Prediction, name: str, side: int, scaling: str) -> np.ndarray:
    panel = draw_panel(looked, side, scaling=scaling, words=False)
    return stack([text_strip(name, panel.shape[1], font_size(side), bold=True), panel])


def _panel_names(items: Sequence[ImageItem]) -> list[str]:
    """Names of the photos below their folders, without suffix; with it, or a number, where others have the same."""
    names: list[str] = []
    taken = set[str]()
    for item in items:
        name = item.name or Path(item.path).name
        choices = [str(Path(name).with_suffix('')), name, *(f'{name}-{number}' for number in range(2, len(items) + 2))]
        names.append(next(one for one in choices if one.lower() not in taken))  # disks may not tell case apart
        taken.add(names[-1].lower())
    return names
