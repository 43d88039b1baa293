"""From photos to batches of network inputs: the one path under all inferencers and encoders."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np

from ..errors import one_line
from .photos import MAX_PIXELS, ImageItem, UnreadableImageError, crop_photo, read_photo

# A logger of the standard library: mmengine's writes to standard output, in between results.
LOGGER = logging.getLogger('glsim_mm.inferencer')

# What transforms raise on photos that they cannot take, for example one of no height after resizing.
_TRANSFORM_ERRORS = (ValueError, TypeError, AssertionError, ZeroDivisionError, MemoryError, RuntimeError, cv2.error)


class PhotoPipeline(Protocol):
    """Prepares photos as a model was tested."""

    @property
    def background(self) -> Sequence[int]:
        """Red, green and blue, 0 to 255, behind transparent pixels."""

    def __call__(self, pixels: np.ndarray) -> Any:
        """Network input, (3, h, w) BGR, an array or tensor not normalised yet, of a photo (H, W, 3) uint8 BGR."""

    def to_photo(self, shape: tuple[int, int]) -> np.ndarray | None:
        """The map from pixels of the network input to pixels of a photo of (height, width) ``shape``.

        It is (2, 3), and ``A @ (x, y, 1)`` the place in the photo; None if the pipeline cannot be followed back.
        """


class Prepared(NamedTuple):
    """A photo that is prepared for the model, or the reason why it cannot be.

    Attributes:
        position: Its place among the photos, from 0.
        inputs: (3, h, w); None if the photo cannot be used, and inside a :class:`Batch`.
        size: Width and height of the upright photo in pixels.
        matrix: (2, 3) map from the network input to :attr:`part`, if known.
        part: x, y, height and width of the part of the photo that is looked at.
        content_hash: SHA-256 of the file.
        error: Why it cannot be used; empty if it can.
    """

    position: int
    inputs: Any = None
    size: tuple[int, int] = (0, 0)
    matrix: np.ndarray | None = None
    part: tuple[int, int, int, int] = (0, 0, 0, 0)
    content_hash: str | None = None
    error: str = ''


class Batch(NamedTuple):
    """Photos of one shape.

    Attributes:
        images: Those that can be used, in order, or those that cannot.
        inputs: (B, 3, h, w) of those that can; None for those that cannot.
    """

    images: list[Prepared]
    inputs: Any


def prepare_photo(
    position: int, item: ImageItem, pipeline: PhotoPipeline, with_geometry: bool = True, max_pixels: int = MAX_PIXELS
) -> Prepared:
    """Read a photo and prepare it; one that cannot be used carries its error instead of raising it.

    The map back to the photo is found only ``with_geometry``.

    Raises:
        GLSimError: If an array is no image, or a box is no part of its photo: mistakes of the caller.
    """
    try:
        photo = read_photo(item, max_pixels, pipeline.background)
    except UnreadableImageError as error:
        return Prepared(position, error=str(error))
    height, width = photo.pixels.shape[:2]
    pixels, corner = (photo.pixels, (0, 0)) if item.box is None else crop_photo(photo.pixels, item.box)
    shape = (pixels.shape[0], pixels.shape[1])
    try:
        inputs = pipeline(pixels)
    except _TRANSFORM_ERRORS as error:
        return Prepared(position, error=f'the test pipeline cannot take it: {one_line(error) or type(error).__name__}')
    matrix = pipeline.to_photo(shape) if with_geometry else None
    return Prepared(position, inputs, (width, height), matrix, (*corner, *shape), photo.content_hash)


def collate(images: Sequence[Prepared], stack: Callable[[list], Any] = np.stack) -> list[Batch]:
    """Stack photos of one shape; shapes stay apart, and photos that cannot be used come last."""
    shapes: dict[Any, list[Prepared]] = {}
    failed = [image for image in images if image.inputs is None]
    for image in images:
        if image.inputs is not None:
            shapes.setdefault(tuple(image.inputs.shape), []).append(image)
    batches = [
        Batch([image._replace(inputs=None) for image in same], stack([image.inputs for image in same]))
        for same in shapes.values()
    ]
    return [*batches, Batch(failed, None)] if failed else batches


def predict_images(
    items: Iterable[ImageItem],
    pipeline: PhotoPipeline,
    predict: Callable[[Any], Sequence[Any]],
    batch_size: int,
    stack: Callable[[list], Any] = np.stack,
    with_geometry: bool = True,
) -> Iterator[tuple[ImageItem, Prepared, Any]]:
    """Send photos through a model, at most one batch of them in memory.

    A file that cannot be read does not stop the others: its error is kept in its place, after one warning.

    Args:
        items: Photos; read one by one.
        pipeline: Test pipeline of the model.
        predict: From a batch (B, 3, h, w) to B predictions.
        batch_size: Photos per pass.
        stack: Makes one array or tensor of several inputs.
        with_geometry: Find the maps back to the photos, which the boxes of a model with regions need.

    Yields:
        Each photo in order, how it was prepared, and its prediction; None where the preparation has an error.
    """
    numbered = enumerate(items)
    while chunk := list(islice(numbered, batch_size)):
        prepared = [prepare_photo(position, item, pipeline, with_geometry) for position, item in chunk]
        for image, (_, item) in zip(prepared, chunk):
            if image.error:
                LOGGER.warning('left out: %s', unreadable(item, image))
        found: dict[int, Any] = {}
        for batch in collate(prepared, stack):
            if batch.inputs is not None:
                found.update(zip((image.position for image in batch.images), predict(batch.inputs)))
        for image, (_, item) in zip(prepared, chunk):
            yield item, image, found.get(image.position)


def unreadable(item: ImageItem, image: Prepared) -> str:
    """What a result says of a photo that cannot be used."""
    name = item.path or f'number {image.position}'
    return f'image {name} cannot be read ({" ".join(image.error.split())}); replace it or leave it out'
