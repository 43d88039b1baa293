"""What a search is asked with: files, arrays, parts of photos."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from glsim_mm.images.sources import find_sources
from retrieval.errors import RetrievalError

from .mistakes import as_retrieval_errors
from .photo_dataset import ImageItem

ImageLike: TypeAlias = str | Path | np.ndarray | Image.Image
Box: TypeAlias = Sequence[float]


def query_items(images: ImageLike | Iterable[ImageLike], box: Box | Sequence[Box | None] | None) -> list[ImageItem]:
    """Images to search with, which keep their paths as they were given.

    Args:
        images: See :meth:`Encoder.encode`.

    Returns:
        In order; a folder or pattern gives several.

    Raises:
        RetrievalError: If a path does not exist, an input is no image, or boxes and images differ in number.
    """
    several = [images] if isinstance(images, (str, Path, np.ndarray, Image.Image)) else images
    if not isinstance(several, Iterable):
        raise RetrievalError(f'images are paths, arrays or Pillow images, not {type(images).__name__}')
    items: list[ImageItem] = []
    with as_retrieval_errors():
        for image in several:
            if isinstance(image, (np.ndarray, Image.Image)):
                items.append(ImageItem(pixels=image))
            else:
                sources = find_sources(image)
                items += [ImageItem(source.path or '', source.path or '', pixels=source.pixels) for source in sources]
    for item, part in zip(items, _boxes(box, len(items))):
        item.box = part
    return items


def _boxes(box: Box | Sequence[Box | None] | None, count: int) -> Sequence[Box | None]:
    if box is None:
        return [None] * count
    parts: Any = list(box)
    if parts and all(isinstance(value, (int, float, np.number)) for value in parts):
        return [parts] * count
    if len(parts) != count:
        raise RetrievalError(f'there are {len(parts)} boxes for {count} images: give one box, or one per image')
    return parts
