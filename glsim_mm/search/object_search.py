"""Detect, recognise, search: one call for photos with several objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.answers import SearchHit
from retrieval.errors import RetrievalError

from ..images.photos import UnreadablePhotoError, find_images, read_photo
from .base_encoder import BaseEncoder, check_encoder
from .detection import DetectedObjects, Detector, MMDetDetector, crop_areas
from .encoder import Encoder
from .image_search import ImageSearch, to_search_hits


@dataclass
class FoundObject:
    """One object of a photo. Boxes are ``x0, y0, x1, y1`` in pixels of the upright photo.

    Attributes:
        box: Where the detector found it.
        detector_score: 0 to 1.
        detector_label: The detector's class.
        detector_name: Its name.
        area: What the recogniser saw: the box with a margin.
        region: Where GLSim looked closer; None of a model without regions.
        classes: The recogniser's likeliest classes with probabilities.
        label: Number of the likeliest class; -1 of a model that does not classify.
        embedding: float32, (C,), of the space that was searched.
        hits: Nearest rows of the gallery, best first.
    """

    box: tuple[float, ...]
    detector_score: float
    detector_label: int
    detector_name: str
    area: tuple[float, ...]
    region: tuple[float, ...] | None = None
    classes: list[tuple[str, float]] = field(default_factory=list)
    label: int = -1
    embedding: np.ndarray | None = None
    hits: list[SearchHit] = field(default_factory=list)


@dataclass
class PhotoObjects:
    """What was found in a photo.

    Attributes:
        path: As it was given; empty for an array.
        shape: Height and width of the upright photo; (0, 0) if it could not be read.
        objects: In the detector's order.
        error: Why the photo could not be read.
    """

    path: str
    shape: tuple[int, int]
    objects: list[FoundObject] = field(default_factory=list)
    error: str = ''


class ObjectSearch:
    """Finds the objects of photos, names each, and looks for its like in a gallery.

    ::

        search = ObjectSearch.open('my.py', 'epoch_50.pth', 'gallery', 'rtmdet_tiny.py', 'rtmdet_tiny.pth')
        for photo in search('photos'):
            for found in photo.objects:
                print(found.box, found.classes[0], found.hits[0].record.path)

    The boxes of all photos of a call are recognised together, ``batch_size`` at a time, however they are spread over
    the photos.

    Args:
        encoder: The recogniser; with ``classify=True`` it names classes.
        detector: Finds boxes; without one, calls give them.
        search: Gallery of the same model; without one, nothing is searched.
        margin: See :func:`glsim_mm.search.crop_areas`.
        square: See :func:`glsim_mm.search.crop_areas`.
        batch_size: Boxes per pass.

    Raises:
        RetrievalError: If the gallery was made by another model.
    """

    def __init__(
        self,
        encoder: BaseEncoder,
        detector: Detector | None = None,
        search: ImageSearch | None = None,
        margin: float = 0.1,
        square: bool = True,
        batch_size: int = 32,
    ) -> None:
        if margin < 0 or batch_size < 1:
            raise RetrievalError(f'margin must be 0 or more and batch_size 1 or more, got {margin} and {batch_size}')
        if search is not None:
            check_encoder(search.gallery, encoder)
        self.encoder, self.detector, self.search = encoder, detector, search
        self.margin, self.square, self.batch_size = margin, square, batch_size

    @classmethod
    def open(
        cls,
        config: str | Path,
        checkpoint: str | Path,
        gallery: str | Path | None = None,
        detector_config: str | Path | None = None,
        detector_checkpoint: str | Path | None = None,
        device: str | None = None,
        classify: bool = True,
        **options: Any,
    ) -> ObjectSearch:
        """Load recogniser, detector and gallery.

        Args:
            config: Config of the recogniser, a GLSim classifier or any other of mmpretrain.
            checkpoint: Its weights.
            gallery: To search in, see :func:`retrieval.gallery.open_gallery`.
            detector_config: Config of a detector of mmdet; without one, calls give boxes.
            detector_checkpoint: Its weights.
            device: For both models. Defaults to the GPU if there is one.
            classify: Name classes.
            **options: ``margin``, ``square`` and ``batch_size`` of this class; ``score_threshold``, ``classes`` and
                ``max_objects`` of :class:`MMDetDetector`.

        Raises:
            UserError: If a file cannot be used, or the gallery was made by another model.
        """
        own = {key: options.pop(key) for key in ('margin', 'square', 'batch_size') if key in options}
        if (detector_config is None) != (detector_checkpoint is None):
            raise RetrievalError('a detector needs both its config and its checkpoint')
        detector = None
        if detector_config is not None and detector_checkpoint is not None:
            detector = MMDetDetector(detector_config, detector_checkpoint, device, **options)
        elif options:
            raise RetrievalError(f'{", ".join(options)}: options of a detector, but there is none')
        search = None if gallery is None else ImageSearch.open(gallery, with_model=False)
        spaces = None if search is None else list(search.gallery.manifest.spaces)
        encoder = Encoder(config, checkpoint, device, spaces=spaces, classify=classify)
        return cls(encoder, detector, search, **own)

    def __call__(
        self,
        photos: Any,
        boxes: Sequence[np.ndarray | DetectedObjects] | None = None,
        k: int = 5,
        top_k: int = 5,
        space: str | None = None,
        where: Any = None,
    ) -> list[PhotoObjects]:
        """Find, name and search.

        Args:
            photos: Paths, folders, glob patterns, arrays (BGR), Pillow images, files' bytes, or several of these.
            boxes: For each photo (n, 4), ``x0, y0, x1, y1`` in pixels of the upright photo. Defaults to what the
                detector finds.
            k: Hits per object.
            top_k: Classes listed per object.
            space: Embeddings to compare. Defaults to the gallery's, or the encoder's, first.
            where: Filter of the gallery, see :class:`retrieval.gallery.Condition`.

        Returns:
            One per photo, in order; an unreadable one carries ``error``.

        Raises:
            UserError: If there are neither boxes nor a detector, or an argument does not fit.
        """
        if k < 1 or top_k < 1:
            raise RetrievalError(f'k and top_k must be at least 1, got {k} and {top_k}')
        names = self.encoder.spaces if self.search is None else tuple(self.search.gallery.manifest.spaces)
        if space is not None and space not in names:
            raise RetrievalError(f'there is no space {space!r}; there are: {", ".join(names)}')
        read = _read_photos(photos, self.encoder.max_pixels)
        found = self._find([pixels for _, pixels, _ in read], boxes)
        results = [
            PhotoObjects(path, (0, 0) if pixels is None else pixels.shape[:2], error=error)
            for path, pixels, error in read
        ]
        places: list[FoundObject] = []
        crops: list[np.ndarray] = []
        for result, (_, pixels, _), objects in zip(results, read, found):
            if pixels is not None:
                result.objects = self._objects(objects, pixels.shape[:2])
                places += result.objects
                crops += [pixels] * len(result.objects)
        if places:
            self._recognise(places, crops, k, top_k, space or names[0], where)
        return results

    def close(self) -> None:
        """Close the gallery."""
        if self.search is not None:
            self.search.close()

    def _find(self, photos: list[np.ndarray | None], boxes: Sequence[Any] | None) -> list[DetectedObjects]:
        if boxes is not None:
            if len(boxes) != len(photos):
                raise RetrievalError(f'there are boxes of {len(boxes)} photos for {len(photos)} photos')
            return [one if isinstance(one, DetectedObjects) else DetectedObjects(one) for one in boxes]
        if self.detector is None:
            raise RetrievalError('give boxes, or a detector: ObjectSearch(..., detector=...)')
        readable = [photo for photo in photos if photo is not None]
        detected = iter(self.detector(readable) if readable else [])
        return [DetectedObjects(np.zeros((0, 4))) if photo is None else next(detected) for photo in photos]

    def _objects(self, found: DetectedObjects, shape: tuple[int, int]) -> list[FoundObject]:
        areas = crop_areas(found.boxes, shape, self.margin, self.square)
        return [
            FoundObject(
                tuple(found.boxes[row].tolist()),
                float(found.scores[row]),
                int(found.labels[row]),
                found.name(row),
                tuple(areas[row].tolist()),
            )
            for row in range(len(areas))
        ]

    def _recognise(
        self, places: list[FoundObject], crops: list[np.ndarray], k: int, top_k: int, space: str, where: Any
    ) -> None:
        encoded = self.encoder.encode(crops, [place.area for place in places], self.batch_size)
        if not len(encoded):
            return
        vectors = encoded.embeddings[space]
        objects = [places[position] for position in encoded.positions]
        for row, (one, record) in enumerate(zip(objects, encoded.records)):
            one.region = None if record.box is None else tuple(map(float, record.box))
            one.embedding = vectors[row]
            if encoded.class_scores is not None:
                one.classes, one.label = self._likeliest(encoded.class_scores[row], top_k)
        if self.search is not None:
            gallery = self.search.gallery
            found = to_search_hits(gallery, gallery.search(vectors, k, space=space, where=where))
            for one, hits in zip(objects, found):
                one.hits = hits

    def _likeliest(self, scores: np.ndarray, top_k: int) -> tuple[list[tuple[str, float]], int]:
        order = np.argsort(-scores, kind='stable')[:top_k].tolist()
        names = self.encoder.classes
        named = [(names[label] if label < len(names) else str(label), float(scores[label])) for label in order]
        return named, order[0]


def _read_photos(photos: Any, max_pixels: int) -> list[tuple[str, np.ndarray | None, str]]:
    """Path, upright pixels (H, W, 3) uint8 BGR, and why there are none, of each photo."""
    read: list[tuple[str, np.ndarray | None, str]] = []
    for item in find_images(photos):
        try:
            read.append((item.path, read_photo(item, max_pixels).pixels, ''))
        except UnreadablePhotoError as error:
            read.append((item.path, None, str(error)))
    return read
