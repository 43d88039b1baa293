"""Made-up embeddings that are as clustered as real ones: uniform noise would make every kind of index look bad."""

from collections.abc import Iterator

import numpy as np

CLUSTERS = 5_000
INTRINSIC = 32
SPREAD = 0.8
_BLOCK = 50_000


def clustered_embeddings(
    count: int, dimension: int, seed: int = 0, stream: int = 0, clusters: int = CLUSTERS
) -> Iterator[np.ndarray]:
    """Unit vectors around cluster centres, spread in a subspace of 32 dimensions, with a little noise in all of them.

    Args:
        count: Vectors.
        dimension: Width d.
        seed: Of centres and subspace.
        stream: Another one draws other vectors of the same mixture: queries that are not in the gallery.
        clusters: Centres. Defaults to 5,000.

    Yields:
        float32, (n, d), blocks of at most 50,000.
    """
    shape = np.random.default_rng(seed)
    basis = shape.normal(size=(min(INTRINSIC, dimension), dimension)).astype(np.float32) / np.sqrt(dimension)
    centres = shape.normal(size=(clusters, len(basis))).astype(np.float32)
    draw = np.random.default_rng([seed, stream])
    for start in range(0, count, _BLOCK):
        size = min(_BLOCK, count - start)
        places = centres[draw.integers(0, clusters, size)]
        places = places + SPREAD * draw.normal(size=places.shape).astype(np.float32)
        rows = places @ basis + 0.05 * draw.normal(size=(size, dimension)).astype(np.float32)
        yield (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
