"""Photos whose objects are wanted."""

from typing import Any

import numpy as np

from ..encoder.queries import query_items
from ..encoder.reading import UnreadablePhotoError, photo_from_array, read_photo


def read_photos(photos: Any, max_pixels: int) -> list[tuple[str, np.ndarray | None, str]]:
    """Decode photos.

    Args:
        photos: Path, array (H, W, 3) uint8 BGR, folder, glob pattern, or several.
        max_pixels: Photos with more are not decoded.

    Returns:
        Path, upright (H, W, 3) uint8 BGR, and why there is none.

    Raises:
        RetrievalError: If a path does not exist, or an array is no image.
    """
    read: list[tuple[str, np.ndarray | None, str]] = []
    for item in query_items(photos, None):
        try:
            photo = photo_from_array(item.pixels) if item.pixels is not None else read_photo(item.file, max_pixels)
            read.append((item.path, photo.pixels, ''))
        except UnreadablePhotoError as error:
            read.append((item.path, None, str(error)))
    return read
