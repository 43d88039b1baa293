"""Photos read, hashed and prepared by the worker processes of a data loader."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from .preparation import Preparation
from .reading import MAX_PIXELS, Photo, UnreadablePhotoError, crop_photo, photo_from_array, read_photo

# What transforms raise on photos that they cannot take, for example one of no height after resizing.
_TRANSFORM_ERRORS = (ValueError, TypeError, AssertionError, ZeroDivisionError, MemoryError, RuntimeError, cv2.error)


@dataclass
class ImageItem:
    """One image to encode, not read yet.

    Attributes:
        file: Path or address to read; empty for an array.
        path: What a gallery calls it: relative to the root where it lies below it.
        label: Name of its class.
        split: For example ``'test'``.
        metadata: Further columns, str to int, float, str or None.
        pixels: The image itself, if it is no file.
        box: Look at this part alone, ``x0, y0, x1, y1`` in pixels of the upright photo.
    """

    file: str = ''
    path: str = ''
    label: str | None = None
    split: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    pixels: np.ndarray | Image.Image | None = None
    box: Sequence[float] | None = None


class Prepared(NamedTuple):
    """One image on its way to the model.

    Attributes:
        position: Place of its item.
        inputs: (3, h, w); None if it cannot be used, and inside a :class:`Batch`.
        size: Width and height of the upright photo in pixels.
        matrix: (2, 3) map from the network input to :attr:`part`, if known.
        part: x, y, height and width of the part of the photo that is looked at.
        content_hash: SHA-256 of the file.
        error: Why it cannot be used; empty if it can.
    """

    position: int
    inputs: Tensor | None = None
    size: tuple[int, int] = (0, 0)
    matrix: np.ndarray | None = None
    part: tuple[int, int, int, int] = (0, 0, 0, 0)
    content_hash: str | None = None
    error: str = ''


class Batch(NamedTuple):
    """Images of one shape.

    Attributes:
        images: Those that can be used, in order, then those that cannot.
        inputs: (B, 3, h, w) of those that can; None if there are none.
    """

    images: list[Prepared]
    inputs: Tensor | None


class PhotoDataset(Dataset):
    """Items as network inputs; one that cannot be read gives its error instead of raising it.

    Args:
        items: What to read.
        pipeline: Prepares photos.
        with_geometry: Find the map back to the photo too.
        max_pixels: Photos with more are not decoded. Defaults to :data:`MAX_PIXELS`.
    """

    def __init__(
        self, items: Sequence[ImageItem], pipeline: Preparation, with_geometry: bool, max_pixels: int = MAX_PIXELS
    ) -> None:
        self.items = items
        self.pipeline = pipeline
        self.with_geometry = with_geometry
        self.max_pixels = max_pixels

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, position: int) -> Prepared:
        item = self.items[position]
        try:
            photo = photo_from_array(item.pixels) if item.pixels is not None else read_photo(item.file, self.max_pixels)
        except UnreadablePhotoError as error:
            return Prepared(position, error=str(error))
        return self._prepare(position, photo, item.box)

    def _prepare(self, position: int, photo: Photo, box: Sequence[float] | None) -> Prepared:
        height, width = photo.pixels.shape[:2]
        pixels, corner = (photo.pixels, (0, 0)) if box is None else crop_photo(photo.pixels, box)
        shape = (pixels.shape[0], pixels.shape[1])
        try:
            inputs = self.pipeline(pixels)
        except _TRANSFORM_ERRORS as error:
            reason = ' '.join(str(error).split()) or type(error).__name__
            return Prepared(position, error=f'the test pipeline cannot take it: {reason}')
        matrix = self.pipeline.to_photo(shape) if self.with_geometry else None
        return Prepared(position, inputs, (width, height), matrix, (*corner, *shape), photo.content_hash)


def collate(images: list[Prepared]) -> list[Batch]:
    """Stack images of one shape; shapes stay apart."""
    shapes: dict[torch.Size, list[Prepared]] = {}
    failed = [image for image in images if image.inputs is None]
    for image in images:
        if image.inputs is not None:
            shapes.setdefault(image.inputs.shape, []).append(image)
    batches = [
        Batch([image._replace(inputs=None) for image in same], torch.stack([image.inputs for image in same]))
        for same in shapes.values()
    ]
    return [*batches, Batch(failed, None)] if failed else batches


def load_batches(
    dataset: PhotoDataset,
    positions: Sequence[int] | None,
    batch_size: int,
    num_workers: int,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Read batches ahead of the model.

    Args:
        dataset: What to read.
        positions: Which of its items; None for all.
        batch_size: Most images in a batch.
        num_workers: Worker processes; 0 reads in this one.
        pin_memory: Let a GPU fetch batches while it computes.

    Yields:
        In the order of the items, except that shapes within a batch are kept apart.
    """
    loader = DataLoader(
        dataset if positions is None else Subset(dataset, positions),
        batch_size=batch_size,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        prefetch_factor=4 if num_workers else None,
        worker_init_fn=_init_worker if num_workers else None,
    )
    for batches in loader:
        yield from batches


def _init_worker(_: int) -> None:
    """OpenCV's own threads would take the model's processors; and 1 in place of 0 waits for threads that a forked
    process does not have, for ever.
    """
    cv2.setNumThreads(0)
