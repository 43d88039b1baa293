"""From images to embeddings, whatever computes them."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from retrieval.errors import RetrievalError
from retrieval.gallery import check_model
from retrieval.gallery.contract import Fingerprint, GalleryReader

from .encoded import Encoded, EncodingError, join_encoded, sort_encoded
from .features import Features
from .mistakes import as_retrieval_errors
from .photo_dataset import Batch, ImageItem, PhotoDataset, load_batches
from .preparation import Preparation
from .queries import Box, ImageLike, query_items
from .reading import MAX_PIXELS
from .records import make_records, to_float32


class BaseEncoder(ABC):
    """Makes embeddings of photos; a subclass says with what.

    Attributes:
        spaces: What is embedded, the default of searches first.
        pipeline: Prepares photos.
        has_regions: Whether the model says where it looked.
        keep_patches: Whether the tokens of the selected patches are kept.
        classify: Whether the probabilities of the model's own classes are given.
        max_pixels: Photos with more are not decoded.
        device: Where embeddings are computed.
        checkpoint: File of the weights.
    """

    spaces: tuple[str, ...]
    pipeline: Preparation
    has_regions: bool
    keep_patches: bool = False
    classify: bool = False
    max_pixels: int = MAX_PIXELS
    device: torch.device = torch.device('cpu')
    checkpoint: str
    uses_amp: bool = False

    @property
    @abstractmethod
    def description(self) -> str:
        """What messages call the model."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that the model was trained on; empty where they are not known."""

    @cached_property
    @abstractmethod
    def fingerprint(self) -> Fingerprint:
        """Hashes of weights, config and test pipeline."""

    @abstractmethod
    def forward(self, inputs: Tensor) -> Features:
        """The model's part of the work.

        Args:
            inputs: (B, 3, h, w) of the test pipeline, not normalised yet.

        Returns:
            On the model's device.
        """

    @cached_property
    def dimensions(self) -> dict[str, int]:
        """Width of the embeddings of each space."""
        return {space: value.shape[1] for space, value in self._probe.embeddings.items()}

    @cached_property
    def num_patches(self) -> int:
        """How many patches :attr:`Encoded.patches` has of each image; 0 if none are kept."""
        return 0 if self._probe.patches is None else self._probe.patches.shape[1]

    @cached_property
    def patch_dimension(self) -> int:
        """Width of the tokens of patches; 0 if none are kept."""
        return 0 if self._probe.patches is None else self._probe.patches.shape[2]

    @cached_property
    def _probe(self) -> Features:
        """What the model makes of one grey image, from which dimensions are read."""
        inputs = self.pipeline(np.full((256, 256, 3), 127, np.uint8))
        with as_retrieval_errors():
            return self.forward(inputs[None])

    def encode(
        self,
        images: ImageLike | Iterable[ImageLike],
        box: Box | Sequence[Box | None] | None = None,
        batch_size: int = 32,
        num_workers: int = 0,
    ) -> Encoded:
        """Encode images, for example queries.

        Args:
            images: A path, URL, folder, glob pattern, array (H, W, 3) uint8 BGR, Pillow image, or several of these.
            box: Look only at this part of the photo, ``x0, y0, x1, y1`` in its upright pixels; one for all, or one per
                image, None for the whole.
            batch_size: Images per pass.
            num_workers: Processes that read photos. Defaults to 0, this one.

        Returns:
            In the order of the images; those that cannot be read are among its ``errors``.

        Raises:
            RetrievalError: If a path does not exist, an array is no image, or a box holds nothing of its photo.
        """
        items = query_items(images, box)
        parts = list(self.stream(items, batch_size, num_workers))
        if not parts:
            raise RetrievalError('there are no images to encode: give at least one')
        encoded = join_encoded(parts)
        if not len(encoded):
            encoded.embeddings = {space: np.zeros((0, width), np.float32) for space, width in self.dimensions.items()}
        return sort_encoded(encoded)

    def stream(
        self,
        items: Sequence[ImageItem],
        batch_size: int = 32,
        num_workers: int = 2,
        positions: Sequence[int] | None = None,
    ) -> Iterator[Encoded]:
        """Encode images batch by batch while worker processes read the next ones.

        Args:
            items: What to encode, see :func:`glsim_mm.search.encoder.sources.find_items`.
            batch_size: Images per pass.
            num_workers: Processes that read, 0 for none.
            positions: Which of the items. Defaults to all.

        Yields:
            Of a batch; images that cannot be read, or whose embedding is not finite, are among its errors.

        Raises:
            RetrievalError: If an argument is out of range.
        """
        if batch_size < 1 or num_workers < 0:
            raise RetrievalError(
                f'batch_size must be 1 or more and num_workers 0 or more, got {batch_size} and {num_workers}'
            )
        dataset = PhotoDataset(items, self.pipeline, self.has_regions, self.max_pixels)
        pin_memory = self.device.type == 'cuda'
        with as_retrieval_errors():
            yield from self.run(load_batches(dataset, positions, batch_size, num_workers, pin_memory), items)

    def run(self, batches: Iterable[Batch], items: Sequence[ImageItem]) -> Iterator[Encoded]:
        """Encode batches that are read already.

        Args:
            batches: See :func:`~glsim_mm.search.encoder.photo_dataset.load_batches`.
            items: The items whose positions the batches state.

        Yields:
            One per batch. A GPU computes a batch while the one before it is handed out.
        """
        waiting: tuple[Batch, Features | None] | None = None
        for batch in batches:
            features = None if batch.inputs is None else self.forward(batch.inputs)
            if waiting is not None:
                yield self._collect(*waiting, items)
            waiting = batch, features
        if waiting is not None:
            yield self._collect(*waiting, items)

    def _collect(self, batch: Batch, features: Features | None, items: Sequence[ImageItem]) -> Encoded:
        errors = [
            EncodingError(image.position, items[image.position].path, image.error)
            for image in batch.images
            if image.error
        ]
        if features is None:
            return Encoded({}, [], np.zeros(0, np.int64), None, errors)
        embeddings = {space: to_float32(value) for space, value in features.embeddings.items()}
        good = np.logical_and.reduce([np.isfinite(x).all(axis=1) & x.any(axis=1) for x in embeddings.values()])
        images = [image for image in batch.images if not image.error]
        reason = 'its embedding is not finite, or all zeros' + ('; encode it without amp' if self.uses_amp else '')
        errors += [
            EncodingError(image.position, items[image.position].path, reason)
            for image, is_good in zip(images, good)
            if not is_good
        ]
        records = make_records(images, features, batch.inputs.shape[-2:], items)
        patches = None if features.patches is None else to_float32(features.patches).astype(np.float16)[good]
        scores = None if features.class_scores is None else to_float32(features.class_scores)[good]
        return Encoded(
            {space: array[good] for space, array in embeddings.items()},
            [record for record, is_good in zip(records, good) if is_good],
            np.array([image.position for image in images], np.int64)[good],
            patches,
            errors,
            scores,
        )


def check_spaces(
    spaces: Sequence[str] | None, known: Sequence[str], defaults: tuple[str, ...], model: str
) -> tuple[str, ...]:
    """The spaces that are asked for.

    Args:
        spaces: Names, or None for the defaults.
        known: What the model has.
        defaults: What is taken unless told otherwise.
        model: What messages call it.

    Returns:
        Names.

    Raises:
        RetrievalError: If one is unknown or comes twice.
    """
    if spaces is None:
        return defaults
    names = (spaces,) if isinstance(spaces, str) else tuple(spaces)
    unknown = [name for name in names if name not in known]
    if unknown or not names or len(set(names)) < len(names):
        raise RetrievalError(
            f'spaces must be some of {", ".join(known)}, which {model} has, each once; got {", ".join(names) or "none"}'
        )
    return names


def check_encoder(gallery: GalleryReader, encoder: BaseEncoder) -> None:
    """Refuse an encoder that did not make a gallery.

    Raises:
        RetrievalError: If weights, config or pipeline differ, or a space is missing.
    """
    check_model('the gallery', gallery.manifest, encoder.fingerprint)
    missing = [name for name in gallery.manifest.spaces if name not in encoder.dimensions]
    if missing:
        raise RetrievalError(
            f'the gallery has the space {missing[0]}, which the encoder was not told to make: give it '
            f'spaces={tuple(gallery.manifest.spaces)}'
        )
