"""What a gallery is, wherever it is kept: records, fingerprint, manifest, and the methods of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..hits import Hits, RangeHits

FORMAT_VERSION = 1
Embeddings = np.ndarray | Mapping[str, np.ndarray]
Space = str | Mapping[str, float] | None


@dataclass
class Record:
    """What is known of a row. Boxes are ``x0, y0, x1, y1`` in pixels of the upright photo.

    Attributes:
        path: Of the image, relative to ``origin['root']`` of the manifest where there is one.
        label: Name of its class.
        split: Of the data set.
        box: The region that the model selected.
        image_size: Width and height of the upright photo in pixels.
        content_hash: SHA-256 of the bytes of the file, hexadecimal.
        similarity_map: uint8, (h, w), the larger the likelier selected.
        map_area: The part of the photo that the map covers. Defaults to None, the whole photo.
        metadata: Values by column.
        id: In the gallery; -1 for what is not in one.
    """

    path: str = ''
    label: str | None = None
    split: str | None = None
    box: Sequence[float] | None = None
    image_size: tuple[int, int] | None = None
    content_hash: str | None = None
    similarity_map: np.ndarray | None = None
    map_area: Sequence[float] | None = None
    metadata: dict[str, int | float | str | None] = field(default_factory=dict)
    id: int = -1


@dataclass(frozen=True)
class Fingerprint:
    """Which model made embeddings. Galleries of other fingerprints cannot be compared.

    Attributes:
        weights: Hash of the weights, hexadecimal; empty for unknown.
        config: Hash of the model's config; likewise.
        pipeline: Hash of the test pipeline; likewise.
        description: For people; not compared.
    """

    weights: str
    config: str
    pipeline: str
    description: str = ''

    def differences(self, other: Fingerprint) -> list[str]:
        """What two fingerprints do not have in common: of ``'weights'``, ``'config'``, ``'pipeline'``."""
        return [name for name in ('weights', 'config', 'pipeline') if getattr(self, name) != getattr(other, name)]


@dataclass
class Manifest:
    """What made a gallery, and what it is made of.

    Attributes:
        format_version: Of the files.
        created: Date and time, ISO 8601, UTC.
        fingerprint: Of the model; None for embeddings of unknown origin.
        metric: ``'cosine'``, ``'ip'`` or ``'l2'``.
        spaces: Name and stored dimension of each kind of embedding, the default one first.
        input_dimensions: Dimension of embeddings before they are whitened.
        preset: Kind of index: ``'auto'``, a preset, a FAISS factory string.
        preset_reason: Why the last index is of its kind.
        counts: ``rows``, and where known ``removed`` and ``segments``.
        generation: Counts commits.
        files: Size in bytes and ``sha256`` of each file by its path in the gallery.
        origin: Free: config, checkpoint, root of relative paths, and so on.
    """

    format_version: int
    created: str
    fingerprint: Fingerprint | None
    metric: str
    spaces: dict[str, int]
    input_dimensions: dict[str, int]
    preset: str
    preset_reason: str
    counts: dict[str, int]
    generation: int
    files: dict[str, dict[str, Any]]
    origin: dict[str, str] = field(default_factory=dict)


class GalleryInterface(Protocol):
    """Methods of every gallery; see :class:`retrieval.gallery.Gallery` for what they do."""

    @property
    def manifest(self) -> Manifest: ...

    @property
    def transforms(self) -> dict[str, Any]: ...

    def __len__(self) -> int: ...

    def __enter__(self) -> GalleryInterface: ...

    def __exit__(self, *error: Any) -> None: ...

    def close(self) -> None: ...

    def refresh(self) -> None: ...

    def add(
        self,
        embeddings: Embeddings,
        records: Sequence[Record] | None = None,
        ids: Sequence[int] | np.ndarray | None = None,
        patches: np.ndarray | None = None,
    ) -> np.ndarray: ...

    def update(
        self,
        ids: Sequence[int] | np.ndarray,
        embeddings: Embeddings | None = None,
        records: Sequence[Record] | None = None,
        patches: np.ndarray | None = None,
    ) -> None: ...

    def remove(self, ids: Sequence[int] | np.ndarray | None = None, where: Any = None) -> int: ...

    def compact(self, preset: str | None = None) -> None: ...

    def search(
        self,
        queries: Embeddings,
        k: int = 10,
        *,
        space: Space = None,
        where: Any = None,
        rescore: int | None = None,
        parameters: Mapping[str, int] | None = None,
        transformed: bool = False,
    ) -> Hits: ...

    def range_search(
        self,
        queries: Embeddings,
        radius: float,
        *,
        space: str | None = None,
        where: Any = None,
        transformed: bool = False,
    ) -> RangeHits: ...

    def records(self, ids: Sequence[int] | np.ndarray) -> list[Record]: ...

    def ids(self, where: Any = None) -> np.ndarray: ...

    def vectors(self, ids: Sequence[int] | np.ndarray, space: str | None = None) -> np.ndarray: ...

    def patches(self, ids: Sequence[int] | np.ndarray) -> np.ndarray | None: ...

    def columns(self) -> dict[str, str]: ...

    def transform(self, embeddings: np.ndarray, space: str | None = None) -> np.ndarray: ...

    def find_hashes(self, hashes: Sequence[str]) -> dict[str, int]: ...
