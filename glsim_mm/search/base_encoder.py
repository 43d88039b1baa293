"""From photos to embeddings and records of a gallery: what all encoders have in common."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from retrieval.errors import RetrievalError
from retrieval.gallery import Fingerprint, GalleryReader, Record, check_model
from retrieval.gallery.spaces import Spaces
from retrieval.records import is_list

from ..exported.onnx_model import ExportedInfo
from ..images.photos import MAX_PIXELS, ImageInput, ImageItem, find_images
from ..images.places import map_box
from ..images.preparing import Batch, PhotoPipeline, Prepared, collate, prepare_photo
from ..images.selection_strength import map_strength
from .encoded import Encoded, EncodingError, join_encoded

AGGREGATED, GLOBAL, CROP, CONCAT, CENTRE = 'aggregated', 'global', 'crop', 'concat', 'centre'
SPACES = (AGGREGATED, GLOBAL, CROP, CONCAT, CENTRE)
ALL = 'all'  # stands for every space of a model but 'concat'
_ON_REQUEST = (CONCAT, CENTRE)  # one tells nothing new, the other takes a pass of its own
Box: TypeAlias = Sequence[float]
_BATCHES_AHEAD = 4


class Features(NamedTuple):
    """What is read off a batch of B images: tensors where torch computes them, arrays elsewhere.

    Attributes:
        embeddings: (B, C) of each space, not normalised except for ``'concat'``.
        boxes: (B, 4), the region that was cropped, ``x0, y0, x1, y1`` in pixels of the network input.
        maps: (B, h, w), scores of the patches, the larger the likelier selected.
        patches: (B, O, C), tokens of the selected patches, best first.
        places: (B, O), their numbers among the patches of the map, row by row from 0.
        class_scores: (B, K), probabilities of the classes that the model was trained on.
    """

    embeddings: dict[str, Any]
    boxes: Any = None
    maps: Any = None
    patches: Any = None
    places: Any = None
    class_scores: Any = None


class BaseEncoder(ABC):
    """Makes embeddings of photos; a subclass says with what.

    A file that cannot be read is listed among the errors and does not stop the others; a path that does not exist, or
    an array that is no image, raises an error.

    Attributes:
        description: What messages call the model.
        classes: Names of the classes that the model was trained on; empty where they are not known.
        spaces: What is embedded, the default of searches first.
        has_regions: Whether the model says where it looked.
        max_pixels: Photos with more are not decoded.
        keep_patches: Whether tokens of the selected patches are kept.
        config: Config of the model; None of an exported one.
        uses_amp: Whether the model computes in less than float32.
        usual_batch: Images of a pass where many ask for one at a time.
        adds_up: Whether the sum of its spaces is searched best, as with encoders that were trained for nothing else.
    """

    description: str
    classes: tuple[str, ...]
    spaces: tuple[str, ...]
    pipeline: PhotoPipeline
    has_regions: bool
    max_pixels: int = MAX_PIXELS
    keep_patches: bool = False
    config: Any = None
    checkpoint: str
    uses_amp: bool = False
    adds_up: bool = False
    usual_batch: int = 16
    _call: Callable[..., Features] | None = None

    @cached_property
    @abstractmethod
    def fingerprint(self) -> Fingerprint:
        """Hashes of weights, config and test pipeline."""

    @abstractmethod
    def forward(self, inputs: Any) -> Features:
        """The model's part of the work; inputs (B, 3, h, w) of the test pipeline are not normalised yet."""

    def describe(self) -> ExportedInfo | None:
        """What another machine must know to have this encoder run by this one; None where only its own code can tell
        how photos are prepared.
        """
        return None

    def infer(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """The model's part of the work for somebody else, who has prepared photos for it.

        Args:
            pixels: RGB values of 0 to 255, uint8 or float32, (B, 3, h, w).

        Returns:
            float32 by name: an embedding for each space, ``'selected_boxes'`` (B, 1, 4), ``'similarity_map'``,
            ``'patches'`` and ``'patch_places'``, as :class:`~glsim_mm.exported.ExportedInfo` has them. Of an exported
            file, its outputs.
        """
        features = self.forward(self._take(pixels[:, ::-1]))
        boxes = None if features.boxes is None else features.boxes[:, None]
        names = ('selected_boxes', 'similarity_map', 'patches', 'patch_places')
        parts = {**features.embeddings, **dict(zip(names, (boxes, *features[2:5])))}
        return {name: self._fetch(value) for name, value in parts.items() if value is not None}

    @cached_property
    def dimensions(self) -> dict[str, int]:
        """Width of the embeddings of each space."""
        return {space: value.shape[1] for space, value in self._probe.embeddings.items()}

    def count_passes(self) -> int:
        """How often the model runs for a photo: for the photo, one region, and its centre, as its spaces need it."""
        of_crop = self.has_regions and not set(self.spaces) <= {GLOBAL, CENTRE}
        return int(set(self.spaces) != {CENTRE}) + int(of_crop) + int(CENTRE in self.spaces)

    @cached_property
    def num_patches(self) -> int:
        """How many patches :attr:`Encoded.patches` has of each image; 0 if none are kept."""
        return 0 if self._probe.patches is None else self._probe.patches.shape[1]

    @cached_property
    def _probe(self) -> Features:
        """What the model makes of one grey image, from which dimensions are read."""
        return self.forward(self.pipeline(np.full((256, 256, 3), 127, np.uint8))[None])

    def with_patches(self) -> 'BaseEncoder':
        """The same encoder, that keeps patches; RetrievalError if it cannot."""
        other = copy(self)
        other.keep_patches = True
        for name in ('_probe', 'num_patches'):  # of an encoder that may have kept none
            other.__dict__.pop(name, None)
        return other

    def called_by(self, call: Callable[..., Features]) -> 'BaseEncoder':
        """The same encoder, each pass of which is ``call(forward, inputs)``, for where others use the model too."""
        other = copy(self)
        other._call = call
        return other

    def encode(
        self,
        images: ImageInput | Iterable[ImageInput],
        box: Box | Sequence[Box | None] | None = None,
        batch_size: int = 32,
        num_workers: int = 0,
    ) -> Encoded:
        """Encode images, for example queries.

        Args:
            images: Paths, addresses, folders, glob patterns, arrays (BGR), Pillow images, files' bytes, or an iterable
                of these, see :func:`glsim_mm.images.photos.find_images`.
            box: Look only at this part of the photo, ``x0, y0, x1, y1`` in its upright pixels; one for all, or one per
                image, None for the whole.
            batch_size: Images per pass.
            num_workers: Workers that read photos, 0 for none.

        Returns:
            In the order of the images; those that cannot be read are among its ``errors``.

        Raises:
            UserError: If a path does not exist, an array is no image, or a box holds nothing of its photo.
        """
        items = list(find_images(images))
        for item, part in zip(items, _boxes(box, len(items))):
            item.box = part
        parts = list(self.stream(items, batch_size, num_workers))
        if not parts:
            raise RetrievalError('there are no images to encode: give at least one')
        encoded = join_encoded(parts)
        if not len(encoded):
            encoded.embeddings = {space: np.zeros((0, width), np.float32) for space, width in self.dimensions.items()}
        return encoded

    def stream(
        self,
        items: Sequence[ImageItem],
        batch_size: int = 32,
        num_workers: int = 2,
        positions: Sequence[int] | None = None,
    ) -> Iterator[Encoded]:
        """Encode items (see :func:`glsim_mm.search.find_items`), or those at some positions, batch by batch.

        Workers, if there are any, read the next batches meanwhile. Images that cannot be read, or whose embedding is
        not finite, are among the errors of their batch.

        Raises:
            RetrievalError: If an argument is out of range.
        """
        if batch_size < 1 or num_workers < 0:
            raise RetrievalError(
                f'batch_size must be 1 or more and num_workers 0 or more, got {batch_size} and {num_workers}'
            )
        yield from self.run(self.load_batches(items, positions, batch_size, num_workers), items)

    def load_batches(
        self, items: Sequence[ImageItem], positions: Sequence[int] | None, batch_size: int, num_workers: int
    ) -> Iterator[Batch]:
        """Read items, or those at some positions, ahead of the model; without workers, when the model asks.

        Batches come in the order of the items, but each holds images of one shape.
        """
        wanted = range(len(items)) if positions is None else positions
        chunks = (wanted[start : start + batch_size] for start in range(0, len(wanted), batch_size))
        if num_workers == 0:
            for chunk in chunks:
                yield from collate([self.prepare(items, position) for position in chunk])
            return
        with ThreadPoolExecutor(num_workers) as pool:
            waiting: deque = deque()
            for chunk in chunks:
                waiting.append([pool.submit(self.prepare, items, position) for position in chunk])
                if len(waiting) > _BATCHES_AHEAD:
                    yield from collate([future.result() for future in waiting.popleft()])
            while waiting:
                yield from collate([future.result() for future in waiting.popleft()])

    def run(self, batches: Iterable[Batch], items: Sequence[ImageItem]) -> Iterator[Encoded]:
        """Encode batches that are read already, which state positions of the items.

        A GPU computes a batch while the one before it is handed out.
        """
        waiting: tuple[Batch, Features | None] | None = None
        call = self._call or _call
        for batch in batches:
            features = None if batch.inputs is None else call(self.forward, batch.inputs)
            if waiting is not None:
                yield self._collect(*waiting, items)
            waiting = batch, features
        if waiting is not None:
            yield self._collect(*waiting, items)

    def prepare(self, items: Sequence[ImageItem], position: int) -> Prepared:
        """Read the item at a position for the model, in any thread; an error is told in what is returned."""
        return prepare_photo(position, items[position], self.pipeline, self.has_regions, self.max_pixels)

    def encode_prepared(self, images: Sequence[Prepared], items: Sequence[ImageItem]) -> Encoded:
        """Encode images that :meth:`prepare` has read, at least one, those of one shape in one pass."""
        return join_encoded(list(self.run(collate(images, self._stack), items)))

    def _take(self, pixels: np.ndarray) -> Any:
        """Network inputs (B, 3, h, w), BGR, as :meth:`forward` takes them."""
        return pixels

    def _stack(self, inputs: Sequence[Any]) -> Any:
        """Network inputs of one shape as a batch."""
        return np.stack(inputs)

    def _fetch(self, value: Any) -> np.ndarray:
        """A part of :class:`Features` as float32."""
        return np.asarray(value, np.float32)

    def _collect(self, batch: Batch, features: Features | None, items: Sequence[ImageItem]) -> Encoded:
        errors = [
            EncodingError(image.position, items[image.position].path, image.error)
            for image in batch.images
            if image.error
        ]
        if features is None:
            return Encoded({}, [], np.zeros(0, np.int64), None, errors)
        embeddings = {space: self._fetch(value) for space, value in features.embeddings.items()}
        boxes, maps, patches, places, scores = (None if part is None else self._fetch(part) for part in features[1:])
        good = np.logical_and.reduce([np.isfinite(x).all(axis=1) & x.any(axis=1) for x in embeddings.values()])
        reason = 'its embedding is not finite, or all zeros' + ('; encode it without amp' if self.uses_amp else '')
        scaled = None if maps is None else _scale_maps(maps)
        records = []
        for row, image in enumerate(batch.images):
            item = items[image.position]
            if not good[row]:
                errors.append(EncodingError(image.position, item.path, reason))
                continue
            record = Record(
                path=item.path,
                label=item.label,
                split=item.split,
                image_size=image.size if all(image.size) else None,
                content_hash=image.content_hash,
                metadata=dict(item.metadata),
            )
            if boxes is not None and maps is not None and scaled is not None:
                kept = None if places is None else places[row].astype(int)
                record.map_range = map_strength(maps[row])
                _add_region(record, image, boxes[row].tolist(), scaled[row], batch.inputs.shape[-2:], kept)
            records.append(record)
        return Encoded(
            {space: array[good] for space, array in embeddings.items()},
            records,
            np.array([image.position for image in batch.images], np.int64)[good],
            None if patches is None else patches.astype(np.float16)[good],
            errors,
            None if scores is None else scores[good],
        )


def _call(function: Callable[..., Features], *arguments: Any) -> Features:
    return function(*arguments)


def _scale_maps(maps: np.ndarray) -> np.ndarray:
    """Similarity maps (B, h, w) in 8 bits: the smallest value of each becomes 0, its largest 255; a flat map, all 0."""
    finite = np.nan_to_num(maps, nan=0.0, posinf=0.0, neginf=0.0)
    low = finite.min(axis=(1, 2), keepdims=True)
    extent = finite.max(axis=(1, 2), keepdims=True) - low
    return np.round((finite - low) / np.where(extent > 0, extent, 1) * 255).astype(np.uint8)


def check_spaces(spaces: Sequence[str] | None, known: Sequence[str], model: str) -> tuple[str, ...]:
    """The spaces that are asked for, of those that a ``model`` has.

    None stands for all but ``'concat'`` and ``'centre'``, ``'all'`` for all but ``'concat'``.

    Raises:
        RetrievalError: If one is unknown or comes twice.
    """
    if spaces is None:
        return tuple(space for space in known if space not in _ON_REQUEST)
    names = (spaces,) if isinstance(spaces, str) else tuple(spaces)
    if names == (ALL,):
        return tuple(space for space in known if space != CONCAT)
    unknown = [name for name in names if name not in known]
    if unknown or not names or len(set(names)) < len(names):
        raise RetrievalError(
            f'spaces must be some of {", ".join(known)}, which {model} has, each once; got {", ".join(names) or "none"}'
        )
    return names


def check_encoder(gallery: GalleryReader, encoder: BaseEncoder) -> None:
    """Refuse an encoder that did not make a gallery.

    Raises:
        RetrievalError: If weights, config or pipeline differ, or a space is missing or of another dimension.
    """
    manifest = gallery.manifest
    check_model('the gallery', manifest, encoder.fingerprint)
    spaces = Spaces.of(gallery).given
    missing = [name for name in spaces if name not in encoder.dimensions]
    if missing:
        raise RetrievalError(
            f'the gallery has the space {missing[0]}, which the encoder was not told to make: give it '
            f'spaces={tuple(spaces)}'
        )
    for name in spaces:
        width = manifest.input_dimensions.get(name, manifest.spaces.get(name))
        if width is not None and encoder.dimensions[name] != width:
            raise RetrievalError(
                f'the gallery has embeddings of dimension {width} in the space {name}, and '
                f'{encoder.checkpoint or encoder.description} gives {encoder.dimensions[name]}: it is another model'
            )


def _boxes(box: Box | Sequence[Box | None] | None, count: int) -> Sequence[Box | None]:
    """One box per image."""
    if box is None:
        return [None] * count
    if not is_list(box):
        raise RetrievalError(
            f'a box is four numbers x0, y0, x1, y1; give one for all images, or one per image, not {box!r}'
        )
    parts: Any = list(box)
    if parts and all(isinstance(value, (int, float, np.number)) for value in parts):
        parts = [parts] * count
    if len(parts) != count:
        raise RetrievalError(f'there are {len(parts)} boxes for {count} images: give one box, or one per image')
    return parts


def _add_region(
    record: Record,
    image: Prepared,
    box: Sequence[float],
    similarity_map: np.ndarray,
    shape: Sequence[int],
    places: np.ndarray | None,
) -> None:
    """Say where the model looked, in pixels of the upright photo where the test pipeline can be followed back.

    ``shape`` is height and width of the network input, ``places`` the numbers of the patches that are kept.
    """
    record.similarity_map = similarity_map
    if image.matrix is None:
        return
    matrix = image.matrix
    x, y, height, width = image.part

    def in_photo(part: Sequence[float]) -> tuple[float, ...]:
        x0, y0, x1, y1 = map_box(matrix, part, (height, width))
        return x0 + x, y0 + y, x1 + x, y1 + y

    record.box, record.map_area = in_photo(box), in_photo((0, 0, shape[1], shape[0]))
    if places is not None:
        rows, columns = np.divmod(places, similarity_map.shape[1])
        corners = np.stack([columns, rows, columns + 1, rows + 1], axis=1)
        size = np.divide(shape[::-1], similarity_map.shape[::-1])
        record.patch_boxes = [in_photo(part) for part in (corners * np.tile(size, 2)).tolist()]
