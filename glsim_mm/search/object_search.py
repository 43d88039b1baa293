"""Detect, recognise, search: one call for photos with several objects, and what it found as text, JSON and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmengine.structures import InstanceData
from PIL import Image

from retrieval.answers import SearchHit, one_line, shown_paths
from retrieval.errors import RetrievalError
from retrieval.gallery.spaces import Spaces
from retrieval.records import is_list
from retrieval.whitening import add_views

from ..images.photos import ImageItem, UnreadableImageError, find_images, read_photo
from ..visualization.panel import DrawnObject, draw_objects
from .base_encoder import BaseEncoder, check_encoder
from .detection import DetectedObjects, Detector, MMDetDetector, crop_areas
from .encoder import Encoder
from .image_search import ImageSearch, to_search_hits

if TYPE_CHECKING:
    from mmdet.structures import DetDataSample


@dataclass
class FoundObject:
    """One object of a photo. Boxes are ``x0, y0, x1, y1`` in pixels of the upright photo.

    Attributes:
        box: Where the detector found it, with ``detector_score`` 0 to 1, its class ``detector_label`` and the name.
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
    """Finds the objects of photos, names each, and searches a gallery for similar ones.

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
        margin: Share of a box's sides that is added at each of them; see :func:`glsim_mm.search.crop_areas`.
        square: Lengthen the shorter side of a box.
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
            device: Runs both models. Defaults to the GPU if there is one.
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
        spaces = None if search is None else Spaces.of(search.gallery).given
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
        group_by: str | None = None,
        exclude_same: bool = False,
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
            group_by: Column; of rows with the same value only the best is a hit.
            exclude_same: Leave out rows whose content is that of the photo.

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
        results: list[PhotoObjects] = []
        read: list[np.ndarray | None] = []
        contents: list[str | None] = []
        for item in find_images(photos):
            try:
                photo = read_photo(item, self.encoder.max_pixels, self.encoder.pipeline.background)
                results.append(PhotoObjects(item.path, photo.pixels.shape[:2]))
                read.append(photo.pixels)
                contents.append(photo.content_hash)
            except UnreadableImageError as error:
                results.append(PhotoObjects(item.path, (0, 0), error=str(error)))
                read.append(None)
                contents.append(None)
        places: list[FoundObject] = []
        crops: list[np.ndarray] = []
        hashes: list[str | None] = []
        for result, image, content, objects in zip(results, read, contents, self._find(read, boxes)):
            if image is not None:
                result.objects = self._objects(objects, result.shape)
                places += result.objects
                crops += [image] * len(result.objects)
                hashes += [content] * len(result.objects)
        if places:
            options = dict(space=space or names[0], where=where, group_by=group_by)
            self._recognise(places, crops, k, top_k, options, hashes if exclude_same else None)
        return results

    def close(self) -> None:
        """Close the gallery."""
        if self.search is not None:
            self.search.close()

    def _find(self, photos: Sequence[np.ndarray | None], boxes: Sequence[Any] | None) -> list[DetectedObjects]:
        if boxes is not None:
            if not is_list(boxes):
                raise RetrievalError(f'boxes must be a list of arrays (n, 4), one for each photo, got {boxes!r}')
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
        self,
        places: list[FoundObject],
        crops: list[np.ndarray],
        k: int,
        top_k: int,
        options: dict[str, Any],
        hashes: list[str | None] | None,
    ) -> None:
        encoded = self.encoder.encode(crops, [place.area for place in places], self.batch_size)
        if not len(encoded):
            return
        space = options['space']
        names = (space,) if self.search is None else Spaces.of(self.search.gallery).sources(space)
        vectors = add_views([encoded.embeddings[name] for name in names])
        objects = [places[position] for position in encoded.positions]
        for row, (one, record) in enumerate(zip(objects, encoded.records)):
            one.region = None if record.box is None else tuple(map(float, record.box))
            one.embedding = vectors[row]
            if encoded.class_scores is not None:
                one.classes, one.label = self._likeliest(encoded.class_scores[row], top_k)
        if self.search is not None:
            gallery = self.search.gallery.snapshot()
            if hashes is not None:
                options['exclude'] = gallery.same_content([hashes[position] for position in encoded.positions.tolist()])
            found = to_search_hits(gallery, gallery.search(encoded.embeddings, k, **options))
            for one, hits in zip(objects, found):
                one.hits = hits

    def _likeliest(self, scores: np.ndarray, top_k: int) -> tuple[list[tuple[str, float]], int]:
        order = np.argsort(-scores, kind='stable')[:top_k].tolist()
        names = self.encoder.classes
        named = [(names[label] if label < len(names) else str(label), float(scores[label])) for label in order]
        return named, order[0]


def to_data_samples(results: Sequence[PhotoObjects], k: int = 5) -> list[DetDataSample]:
    """Results as mmdet has them.

    ::

        sample = to_data_samples(search('photo.jpg'))[0]
        print(sample.pred_instances.bboxes, sample.pred_instances.fine_names)

    Args:
        results: What :class:`ObjectSearch` found.
        k: Columns of the neighbours.

    Returns:
        One per photo, with ``img_path``, ``ori_shape`` and ``pred_instances`` of n objects: the detector's ``bboxes``
        (n, 4), ``scores`` and ``labels`` (n,); ``fine_labels`` (n,), -1 for none, and ``fine_scores`` (n,), 0 for none;
        ``fine_names``, a list; ``regions`` (n, 4), the area that was looked at where the model selects none;
        ``neighbor_ids`` (n, k), -1 for none, ``neighbor_scores`` (n, k), NaN for none, and ``neighbor_labels``, n
        lists.

    Raises:
        RetrievalError: If mmdet is not installed.
    """
    try:
        from mmdet.structures import DetDataSample
    except ModuleNotFoundError as error:
        raise RetrievalError(f'{error}: data samples of mmdet need mmdet (docs/guides/downstream.md)') from None
    samples = []
    for result in results:
        objects = result.objects
        ids, scores = np.full((len(objects), k), -1, np.int64), np.full((len(objects), k), np.nan, np.float32)
        for row, one in enumerate(objects):
            for column, hit in enumerate(one.hits[:k]):
                ids[row, column], scores[row, column] = hit.record.id, hit.score
        instances = InstanceData(
            bboxes=torch.tensor([one.box for one in objects]).reshape(-1, 4),
            scores=torch.tensor([one.detector_score for one in objects]),
            labels=torch.tensor([one.detector_label for one in objects], dtype=torch.long),
            fine_labels=torch.tensor([one.label for one in objects], dtype=torch.long),
            fine_scores=torch.tensor([one.classes[0][1] if one.classes else 0.0 for one in objects]),
            fine_names=[one.classes[0][0] if one.classes else '' for one in objects],
            regions=torch.tensor([one.region or one.area for one in objects]).reshape(-1, 4),
            neighbor_ids=torch.from_numpy(ids),
            neighbor_scores=torch.from_numpy(scores),
            neighbor_labels=[[hit.record.label for hit in one.hits[:k]] for one in objects],
        )
        sample = DetDataSample(metainfo=dict(img_path=result.path, ori_shape=result.shape))
        sample.pred_instances = instances
        samples.append(sample)
    return samples


def objects_to_json(results: Sequence[PhotoObjects]) -> list[dict[str, Any]]:
    """Results in types that JSON knows: ``path``, ``height``, ``width`` and ``objects``; ``error`` where not read."""
    return [
        dict(
            path=path,
            height=result.shape[0],
            width=result.shape[1],
            objects=[_object_to_json(one) for one in result.objects],
            **({'error': result.error} if result.error else {}),
        )
        for result, path in zip(results, shown_paths([result.path for result in results]))
    ]


def format_objects(results: Sequence[PhotoObjects]) -> str:
    """Results as text: a line for each object, its likeliest classes and nearest rows below."""
    lines = []
    for result in results:
        lines.append(one_line(result.path or 'image'))
        if result.error:
            lines.append(f'  cannot be read: {one_line(result.error)}')
        elif not result.objects:
            lines.append('  no objects')
        for number, one in enumerate(result.objects, start=1):
            box = ', '.join(f'{value:.0f}' for value in one.box)
            lines.append(f'  {number}. {one_line(one.detector_name)} {one.detector_score:.2f} at ({box})')
            if one.classes:
                lines.append(
                    '     class: ' + ', '.join(f'{one_line(name)} {score:.2f}' for name, score in one.classes[:3])
                )
            for hit in one.hits:
                label = one_line(hit.record.label or hit.record.path or f'id {hit.record.id}')
                lines.append(f'     {hit.rank}: {hit.score:.4f}  {label}')
    return '\n'.join(lines)


def write_pictures(results: Sequence[PhotoObjects], folder: str | Path) -> list[Path]:
    """Draw what was found: one JPEG per photo, named after it; a number is added where names are equal.

    Args:
        results: Photos in memory and unreadable ones are left out.
        folder: Where to write; made if it is not there.

    Raises:
        RetrievalError: If a file cannot be written.
    """
    written: list[Path] = []
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for result in results:
            if result.error or not result.path:
                continue
            pixels = read_photo(ImageItem(result.path)).pixels[:, :, ::-1]
            drawn = draw_objects(pixels, [DrawnObject(one.box, _caption(one), one.region) for one in result.objects])
            name, number = f'{Path(result.path).stem}.jpg', 1
            while Path(folder) / name in written:
                number += 1
                name = f'{Path(result.path).stem}_{number}.jpg'
            Image.fromarray(drawn).save(Path(folder) / name, quality=92)
            written.append(Path(folder) / name)
    except OSError as error:
        raise RetrievalError(f'{folder} cannot be written to ({error.strerror}); choose another folder') from error
    return written


def _caption(one: FoundObject) -> str:
    if one.classes:
        return f'{one.classes[0][0]} {one.classes[0][1]:.2f}'
    if one.hits:
        return f'{one.hits[0].record.label or one.hits[0].record.path} {one.hits[0].score:.2f}'
    return f'{one.detector_name} {one.detector_score:.2f}'


def _object_to_json(one: FoundObject) -> dict[str, Any]:
    return dict(
        box=list(one.box),
        detector=dict(label=one.detector_label, name=one.detector_name, score=one.detector_score),
        area=list(one.area),
        region=None if one.region is None else list(one.region),
        classes=[dict(name=name, score=score) for name, score in one.classes],
        hits=[
            dict(rank=hit.rank, score=hit.score, id=int(hit.record.id), label=hit.record.label, path=path)
            for hit, path in zip(one.hits, shown_paths([hit.record.path for hit in one.hits]))
        ],
    )
