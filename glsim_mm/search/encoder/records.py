"""What a gallery keeps of an encoded image: where the model looked, in pixels of the photo."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from retrieval.gallery.contract import Record

from .features import Features
from .photo_dataset import ImageItem, Prepared
from .places import move_box


class _Places(NamedTuple):
    """Boxes (B, 4) and uint8 maps (B, h, w) of a batch."""

    boxes: list[list[float]]
    maps: np.ndarray


def make_records(
    images: Sequence[Prepared], features: Features, shape: Sequence[int], items: Sequence[ImageItem]
) -> list[Record]:
    """Records of a batch.

    Args:
        images: The B images that were encoded.
        features: What the model made of them.
        shape: Height and width of the network input.
        items: All items, which the images name by position.

    Returns:
        B of them, boxes in pixels of the upright photos; without boxes where the test pipeline cannot be followed back.
    """
    places = None
    if features.boxes is not None and features.maps is not None:
        places = _Places(features.boxes.float().cpu().tolist(), scale_maps(to_float32(features.maps)))
    return [
        _record(image, items[image.position], shape, None if places is None else (places.boxes[row], places.maps[row]))
        for row, image in enumerate(images)
    ]


def _record(
    image: Prepared, item: ImageItem, shape: Sequence[int], place: tuple[list[float], np.ndarray] | None
) -> Record:
    record = Record(
        path=item.path,
        label=item.label,
        split=item.split,
        image_size=image.size if all(image.size) else None,
        content_hash=image.content_hash,
        metadata=dict(item.metadata),
    )
    if place is not None:
        box, record.similarity_map = place
        if image.matrix is not None:
            x, y, height, width = image.part
            record.box = move_box(image.matrix, box, (height, width), (x, y))
            whole = (0, 0, shape[1], shape[0])
            record.map_area = move_box(image.matrix, whole, (height, width), (x, y))
    return record


def scale_maps(maps: np.ndarray) -> np.ndarray:
    """Similarity maps in 8 bits.

    Args:
        maps: float32, (B, h, w).

    Returns:
        uint8, (B, h, w), the smallest value of each map at 0 and its largest at 255; a flat map is all 0.
    """
    finite = np.nan_to_num(maps, nan=0.0, posinf=0.0, neginf=0.0)
    low = finite.min(axis=(1, 2), keepdims=True)
    extent = finite.max(axis=(1, 2), keepdims=True) - low
    return np.round((finite - low) / np.where(extent > 0, extent, 1) * 255).astype(np.uint8)


def to_float32(tensor: Tensor) -> np.ndarray:
    """A tensor of any floating point type and device as float32."""
    return tensor.float().cpu().numpy()
