"""From a folder and a checkpoint to ranked results with the region that matched, in a few lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from .answers import SearchHit, SearchResult
from .encoder import Encoder, add_images, build_gallery
from .errors import RetrievalError
from .gallery import Gallery, Record, open_gallery
from .ranking import rerank
from .results import Hits

DEFAULT_DEPTH = 100


class ImageSearch:
    """Searches a gallery with images.

    ::

        search = ImageSearch.build('photos', 'configs/my.py', 'epoch_50.pth', 'gallery')
        for result in search('query.jpg', k=5):
            for hit in result.hits:
                print(hit.score, hit.record.path, hit.record.label, hit.record.box)

    Args:
        gallery (Gallery): What is searched.
        encoder (Encoder, optional): The model that made it; not needed to search by rows of the gallery.
    """

    def __init__(self, gallery: Gallery, encoder: Encoder | None = None) -> None:
        self.gallery = gallery
        self.encoder = encoder

    @classmethod
    def build(
        cls, images: Any, config: str | Path, checkpoint: str | Path, location: str | Path, **options: Any
    ) -> ImageSearch:
        """Encode images into a gallery and open it.

        Args:
            images (Any): Folder, list of files, glob pattern, mm data set; see :func:`build_gallery`.
            config (str | Path): Config of the model.
            checkpoint (str | Path): Its weights.
            location (str | Path): Folder of the gallery.
            **options: Of :func:`build_gallery`.

        Returns:
            ImageSearch: Ready to be asked.

        Raises:
            RetrievalError: If images, model or location cannot be used.
        """
        build_gallery(images, config, checkpoint, location, **options)
        return cls.open(location, config, checkpoint, device=options.get('device'))

    @classmethod
    def open(
        cls,
        location: str | Path,
        config: str | Path | None = None,
        checkpoint: str | Path | None = None,
        *,
        device: str | None = None,
        writable: bool = False,
    ) -> ImageSearch:
        """Open a gallery that is there.

        Args:
            location (str | Path): Folder of the gallery, or ``milvus://...``.
            config (str | Path, optional): Config of the model that made it. Without, only its own rows can be asked
                for.
            checkpoint (str | Path, optional): Weights of the model that made it.
            device (str, optional): Of the model. Defaults to the GPU if there is one.
            writable (bool): Allow :meth:`add`. Defaults to False.

        Returns:
            ImageSearch: Ready to be asked.

        Raises:
            RetrievalError: If the gallery is damaged, or was made by another model.
        """
        encoder = None
        if config is not None and checkpoint is not None:
            encoder = Encoder(config, checkpoint, device=device)
        expected = None if encoder is None else encoder.fingerprint
        return cls(open_gallery(location, writable=writable, expect=expected), encoder)

    def __call__(
        self,
        images: Any,
        k: int = 10,
        *,
        box: Sequence[float] | None = None,
        space: str | dict[str, float] | None = None,
        where: Any = None,
        method: str | None = None,
        depth: int = DEFAULT_DEPTH,
        **options: Any,
    ) -> list[SearchResult]:
        """Search with images.

        Args:
            images (Any): Path, array (H, W, 3) uint8 BGR, folder, glob pattern, or several.
            k (int): Hits per query, >= 1. Defaults to 10.
            box (Sequence[float], optional): Look only at this part of the photo, ``x0, y0, x1, y1`` in its pixels.
            space (str | dict[str, float], optional): Which embeddings to compare, or weights of several. Defaults to
                the gallery's first.
            where (Any, optional): Filter, see :class:`retrieval.gallery.Condition`.
            method (str, optional): Re-ranking of the first ``depth`` hits, see :func:`retrieval.ranking.rerank`.
            depth (int): How many hits to re-rank. Defaults to 100.
            **options: ``rescore`` and ``parameters`` of the gallery's search.

        Returns:
            list[SearchResult]: One per image, in order; an unreadable one carries ``error``.

        Raises:
            RetrievalError: If there is no model, or an argument is out of range.
        """
        if self.encoder is None:
            raise RetrievalError('searching with images needs the model: give config and checkpoint to open')
        encoded = self.encoder.encode(images, box=box)
        results = [SearchResult(record) for record in encoded.records]
        if encoded.records:
            patches = encoded.patches
            hits = self._search(encoded.embeddings, patches, k, space, where, method, depth, options)
            self._fill(results, hits)
        results += [SearchResult(Record(path=str(path)), error=reason) for path, reason in encoded.errors]
        return results

    def similar(
        self,
        ids: Iterable[int],
        k: int = 10,
        *,
        space: str | dict[str, float] | None = None,
        where: Any = None,
        method: str | None = None,
        depth: int = DEFAULT_DEPTH,
        **options: Any,
    ) -> list[SearchResult]:
        """Search with rows of the gallery, which are left out of their own hits; no model is needed.

        Args:
            ids (Iterable[int]): Of the rows.
            k (int): See :meth:`__call__`, as for the other arguments. Defaults to 10.
            space (str | dict[str, float], optional): Likewise.
            where (Any, optional): Likewise; of the hits, not of the queries.
            method (str, optional): Likewise.
            depth (int): Likewise. Defaults to 100.
            **options: Likewise.

        Returns:
            list[SearchResult]: One per id, in order.

        Raises:
            RetrievalError: If an id is not in the gallery.
        """
        numbers = np.asarray(list(ids), np.int64)
        results = [SearchResult(record) for record in self.gallery.records(numbers)]
        embeddings = {name: self.gallery.vectors(numbers, name) for name in _names(space, self.gallery)}
        hits = self._search(embeddings, self.gallery.patches(numbers), k + 1, space, where, method, depth, options)
        self._fill(results, _without_self(hits, numbers, k))
        return results

    def add(self, images: Any, **options: Any) -> Any:
        """Encode images into the gallery; see :func:`retrieval.encoder.add_images`.

        Args:
            images (Any): Folder, files, glob pattern, data set.
            **options: Of :func:`add_images`.

        Returns:
            Any: Its report.

        Raises:
            RetrievalError: If the gallery was not opened ``writable``, or there is no model.
        """
        if self.encoder is None:
            raise RetrievalError('adding images needs the model: give config and checkpoint to open')
        return add_images(self.gallery, self.encoder, images, **options)

    def remove(self, ids: Iterable[int] | None = None, where: Any = None) -> int:
        """Take rows out of the gallery.

        Args:
            ids (Iterable[int], optional): Which.
            where (Any, optional): Or those that a filter lets through.

        Returns:
            int: How many.
        """
        return self.gallery.remove(ids=None if ids is None else np.asarray(list(ids), np.int64), where=where)

    def close(self) -> None:
        """Close the gallery."""
        self.gallery.close()

    def __enter__(self) -> ImageSearch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _search(
        self,
        embeddings: dict[str, np.ndarray],
        patches: np.ndarray | None,
        k: int,
        space: str | dict[str, float] | None,
        where: Any,
        method: str | None,
        depth: int,
        options: dict[str, Any],
    ) -> Hits:
        names = _names(space, self.gallery)
        queries = {name: embeddings[name] for name in names}
        if method is None:
            return self.gallery.search(queries, k, space=space, where=where, **options)
        hits = self.gallery.search(queries, max(k, depth), space=space, where=where, **options)
        return rerank(self.gallery, queries, hits, method, space=space, query_patches=patches, where=where, k=k)

    def _fill(self, results: list[SearchResult], hits: Hits) -> None:
        """Put hits into results; one look into the gallery for all."""
        found = np.unique(hits.ids[hits.ids >= 0])
        records = {record.id: record for record in self.gallery.records(found)}
        for result, scores, ids in zip(results, hits.scores, hits.ids):
            pairs = [(score, number) for score, number in zip(scores.tolist(), ids.tolist()) if number >= 0]
            result.hits = [
                SearchHit(rank, score, records[number]) for rank, (score, number) in enumerate(pairs, start=1)
            ]


def _names(space: str | dict[str, float] | None, gallery: Gallery) -> list[str]:
    """Spaces that a search compares."""
    if space is None:
        return [next(iter(gallery.manifest.spaces))]
    return [space] if isinstance(space, str) else list(space)


def _without_self(hits: Hits, ids: np.ndarray, k: int) -> Hits:
    """The first k hits that are not the query itself."""
    order = np.argsort(hits.ids == ids[:, None], axis=1, kind='stable')[:, :k]
    scores, numbers = np.take_along_axis(hits.scores, order, 1), np.take_along_axis(hits.ids, order, 1)
    own = numbers == ids[:, None]
    return Hits(scores, np.where(own, -1, numbers))
