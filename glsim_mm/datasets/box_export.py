"""Exports the boxes of a data set as COCO annotations for mmdet and as masks for mmseg."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ..errors import GLSimError
from ..images.image_files import UnreadableFile, image_size
from ..output_files import write_file, write_json

SHAPES = ('ellipse', 'box')
_CORNERS = 24


def export_boxes(
    samples: Sequence[dict],
    classes: Sequence[str],
    root: str | Path,
    folder: str | Path,
    split: str,
    single_class: str | None = None,
    shape: str = 'ellipse',
) -> tuple[Path, Path]:
    """Write ``annotations/SPLIT.json`` for mmdet, ``splits/SPLIT.txt`` and ``masks/`` for mmseg.

    Args:
        samples: With ``img_path``, ``gt_label`` and ``gt_bboxes`` ((n, 4) float32, ``x0, y0, x1, y1`` in pixels of the
            upright image), as ``CUBFormat`` gives them.
        classes: Class names; categories are numbered from 1 in this order.
        root: Folder of the images, which file names are relative to.
        single_class: One category for all boxes, as for a detector whose boxes are recognised by another model.
        shape: ``'box'`` or ``'ellipse'``: what is filled in each box as its mask.

    Returns:
        The JSON file and the list.

    Raises:
        GLSimError: If a sample has no box, an image cannot be read, or there are too many classes for masks of a byte.
    """
    if not single_class and len(classes) > 254:
        raise GLSimError(f'masks hold 254 classes, not {len(classes)}: give all boxes one class (--single-class NAME)')
    folder = Path(folder)
    content = coco_annotations(samples, classes, root, single_class, shape)
    of_image: dict[int, list[dict]] = {}
    for annotation in content['annotations']:
        of_image.setdefault(annotation['image_id'], []).append(annotation)
    for image in content['images']:
        target = (folder / 'masks' / image['file_name']).with_suffix('.png')
        target.parent.mkdir(parents=True, exist_ok=True)
        draw_mask(image, of_image.get(image['id'], ())).save(target)
    listed = folder / 'splits' / f'{split}.txt'
    names = ''.join(f'{Path(image["file_name"]).with_suffix("")}\n' for image in content['images'])
    write_file(listed, names.encode('utf-8', 'surrogateescape'))  # the bytes of the names, of any encoding
    annotations = folder / 'annotations' / f'{split}.json'
    write_json(annotations, content, indent=None)
    return annotations, listed


def coco_annotations(
    samples: Sequence[dict],
    classes: Sequence[str],
    root: str | Path,
    single_class: str | None = None,
    shape: str = 'box',
) -> dict[str, Any]:
    """Convert boxes to COCO's format, ready for JSON; see :func:`export_boxes`."""
    if shape not in SHAPES:
        raise ValueError(f'shape must be one of {SHAPES}, got {shape!r}')
    images, annotations = [], []
    for number, sample in enumerate(samples, start=1):
        size = image_size(sample['img_path'])
        if isinstance(size, UnreadableFile):
            raise GLSimError(
                f'{size.path} cannot be read as an image ({size.reason}): replace it, or take it out of the data set'
            )
        name = Path(sample['img_path']).relative_to(root).as_posix()
        images.append(dict(id=number, file_name=name, width=size[0], height=size[1]))
        if sample.get('gt_bboxes') is None:
            raise GLSimError(f'{sample["img_path"]} has no box: add bounding_boxes.txt to the data set')
        for x0, y0, x1, y1 in np.clip(np.asarray(sample['gt_bboxes'], float), 0, [*size, *size]).tolist():
            if x1 <= x0 or y1 <= y0:
                continue
            polygon = polygon_in_box((x0, y0, x1, y1), shape)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=1 if single_class else int(sample['gt_label']) + 1,
                    bbox=[x0, y0, x1 - x0, y1 - y0],
                    area=(x1 - x0) * (y1 - y0),
                    segmentation=[[coordinate for point in polygon for coordinate in point]],
                    iscrowd=0,
                )
            )
    names = [single_class] if single_class else classes
    categories = [dict(id=number, name=name) for number, name in enumerate(names, start=1)]
    return dict(images=images, annotations=annotations, categories=categories)


def draw_mask(image: dict, annotations: Sequence[dict]) -> Image.Image:
    """Draw the categories of the pixels of an image in COCO's format, 0 for the background (mode L)."""
    mask = Image.new('L', (image['width'], image['height']), 0)
    for annotation in annotations:
        ImageDraw.Draw(mask).polygon(annotation['segmentation'][0], fill=annotation['category_id'])
    return mask


def polygon_in_box(box: Sequence[float], shape: str) -> list[tuple[float, float]]:
    """Corners ``x, y`` of the shape, ``'box'`` or ``'ellipse'``, that fills a box ``x0, y0, x1, y1``."""
    x0, y0, x1, y1 = box
    if shape == 'box':
        return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    angles = [2 * math.pi * step / _CORNERS for step in range(_CORNERS)]
    return [
        ((x0 + x1) / 2 + (x1 - x0) / 2 * math.cos(angle), (y0 + y1) / 2 + (y1 - y0) / 2 * math.sin(angle))
        for angle in angles
    ]
