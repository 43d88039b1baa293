"""From shards to the gallery: in the order of the images, whitened, with its index."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from retrieval.gallery.contract import GalleryReader, GalleryWriter
from retrieval.whitening import Whitening

from .encoded import Encoded
from .photo_dataset import ImageItem
from .progress import ProgressBar
from .shards import Place, ShardSettings, read_places

_ROWS_AT_ONCE = 4096
_ROWS_PER_DIMENSION = 50
_LEAST_ROWS = 20_000


def fit_whitening(
    shards: Sequence[GalleryReader], places: Sequence[Place], spaces: Mapping[str, int], dimension: int, metric: str
) -> dict[str, Whitening]:
    """Learn a whitening of each space from embeddings in shards.

    Args:
        shards: Of a build.
        places: Of all embeddings; a random sample (seed 0) of 50 per input dimension, at least 20,000, is used.
        spaces: Dimension of each space.
        dimension: Dimension after whitening.
        metric: For ``'cosine'`` embeddings are scaled to length 1 first.

    Returns:
        By space.

    Raises:
        RetrievalError: If there are too few embeddings.
    """
    count = max(_LEAST_ROWS, _ROWS_PER_DIMENSION * max(spaces.values()))
    sample: Sequence[Place] = places
    if len(places) > count:
        chosen = np.sort(np.random.default_rng(0).choice(len(places), count, replace=False))
        sample = [places[number] for number in chosen]
    embeddings = read_places(shards, sample, with_patches=False).embeddings
    return {space: Whitening.fit(embeddings[space], dimension, metric == 'cosine') for space in spaces}


def merge_shards(
    shards: Sequence[GalleryReader],
    items: Sequence[ImageItem],
    places: Mapping[int, Place],
    target: GalleryWriter,
    settings: ShardSettings,
    progress: ProgressBar,
) -> None:
    """Copy embeddings into a gallery, each with what is known of its image.

    Args:
        shards: Of a build.
        items: Images.
        places: Where the embedding of an item is, by its position; unreadable items have none.
        target: An empty gallery; rows are added in the order of the items.
        settings: Of the build.
        progress: Told of every image.
    """
    positions = sorted(places)
    for start in range(0, len(positions), _ROWS_AT_ONCE):
        chunk = positions[start : start + _ROWS_AT_ONCE]
        encoded = read_places(shards, [places[position] for position in chunk], settings.num_patches > 0)
        named = name_images(encoded, [items[position] for position in chunk])
        target.add(named.embeddings, named.records, patches=named.patches)
        progress.advance(len(chunk))


def name_images(encoded: Encoded, items: Sequence[ImageItem]) -> Encoded:
    """Encoded images with path, label, split and metadata of other images of the same content.

    Args:
        encoded: n images.
        items: n images.

    Returns:
        With new records.
    """
    records = [
        replace(record, id=-1, path=item.path, label=item.label, split=item.split, metadata=dict(item.metadata))
        for record, item in zip(encoded.records, items)
    ]
    return replace(encoded, records=records)
