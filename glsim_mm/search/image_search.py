"""From a folder and a checkpoint to ranked results with the region that matched, in a few lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from retrieval.answers import SearchHit, SearchResult
from retrieval.errors import RetrievalError
from retrieval.gallery import GalleryReader, Record, open_gallery
from retrieval.hits import Hits
from retrieval.ranking import fit_patch_whitening, rerank

from ..images.photos import ImageInput
from .adding import add_images, encoder_for
from .base_encoder import BaseEncoder
from .encoded import EncodingReport
from .result_pages import write_results

DEFAULT_DEPTH = 100


class _Queries(NamedTuple):
    """Embeddings as the gallery stores them, selected patches, and ids of queries that are rows of the gallery."""

    embeddings: dict[str, np.ndarray]
    patches: np.ndarray | None = None
    ids: np.ndarray | None = None


class _How(NamedTuple):
    """How to search; see :meth:`ImageSearch.__call__`."""

    space: str | dict[str, float] | None
    where: Any
    method: str | None
    depth: int
    options: dict[str, Any]


class ImageSearch:
    """Searches a gallery with images.

    ::

        search = ImageSearch.build('photos', 'configs/my.py', 'epoch_50.pth', 'gallery')
        for result in search('query.jpg', k=5):
            for hit in result.hits:
                print(hit.score, hit.record.path, hit.record.label, hit.record.box)

    Args:
        gallery: What is searched.
        encoder: The model that made it; not needed to search by rows of the gallery.
    """

    def __init__(self, gallery: GalleryReader, encoder: BaseEncoder | None = None) -> None:
        self.gallery = gallery
        self.encoder = encoder
        self._whitening: tuple[int, Any] | None = None

    @classmethod
    def build(
        cls, images: Any, config: str | Path, checkpoint: str | Path, location: str | Path, **options: Any
    ) -> ImageSearch:
        """Encode images into a gallery and open it.

        Args:
            images: Folder, list of files, glob pattern, mm data set; see :func:`build_gallery`.
            config: Config of the model.
            checkpoint: Its weights.
            location: Folder of the gallery.
            **options: Of :func:`build_gallery`.

        Returns:
            Ready to be asked.

        Raises:
            RetrievalError: If images, model or location cannot be used.
        """
        from .building import build_gallery  # needs torch, which searching may do without

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
        with_model: bool = True,
    ) -> ImageSearch:
        """Open a gallery that is there.

        Args:
            location: Folder of the gallery, or ``milvus://...``.
            config: Config of the model that made it. Defaults to the one that the gallery names.
            checkpoint: Its weights. Defaults to those that the gallery names. An ``.onnx`` file of ``tools/export.py``
                needs no config, and neither mmpretrain, mmengine nor torch.
            device: Of the model. Defaults to the GPU if there is one.
            writable: Allow :meth:`add`.
            with_model: Load the model; without, the gallery can be asked for its own rows.

        Returns:
            Ready to be asked.

        Raises:
            RetrievalError: If the gallery is damaged, or was made by another model.
        """
        gallery = open_gallery(location, writable=writable)
        try:
            return cls(gallery, encoder_for(gallery, config, checkpoint, device=device) if with_model else None)
        except BaseException:
            gallery.close()
            raise

    def __call__(
        self,
        images: ImageInput | Iterable[ImageInput],
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
            images: Paths, folders, glob patterns, arrays (BGR), Pillow images, files' bytes, or several of these.
            k: Hits per query, >= 1.
            box: Look only at this part of the photo, ``x0, y0, x1, y1`` in its pixels.
            space: Which embeddings to compare, or weights of several. Defaults to the gallery's first.
            where: Filter, see :class:`retrieval.gallery.Condition`.
            method: Re-ranking of the first ``depth`` hits, see :func:`retrieval.ranking.rerank`.
            depth: How many hits to re-rank. Defaults to 100.
            **options: ``rescore`` and ``parameters`` of the gallery's search.

        Returns:
            One per image, in order; an unreadable one carries ``error``.

        Raises:
            RetrievalError: If there is no model, or an argument is out of range.
        """
        if self.encoder is None:
            raise RetrievalError('searching with images needs the model: give config and checkpoint to open')
        encoded = self.encoder.encode(images, box=box)
        read = [SearchResult(record) for record in encoded.records]
        if read:
            embeddings = {
                name: self.gallery.transform(encoded.embeddings[name], name) for name in _names(space, self.gallery)
            }
            how = _How(space, where, method, depth, options)
            hits = self._search(_Queries(embeddings, encoded.patches), k, how)
            for result, found in zip(read, to_search_hits(self.gallery, hits)):
                result.hits = found
        results = dict(zip(encoded.positions.tolist(), read))
        for error in encoded.errors:
            results[error.position] = SearchResult(Record(path=error.path), error=error.reason)
        return [results[position] for position in sorted(results)]

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
            ids: Of the rows.
            k: Hits per query, >= 1.
            space: See :meth:`__call__`.
            where: Filter of the hits, not of the queries.
            method: See :meth:`__call__`.
            depth: See :meth:`__call__`.
            **options: See :meth:`__call__`.

        Returns:
            One per id, in order.

        Raises:
            RetrievalError: If an id is not in the gallery.
        """
        numbers = np.asarray(list(ids), np.int64)
        results = [SearchResult(record) for record in self.gallery.records(numbers)]
        embeddings = {name: self.gallery.vectors(numbers, name) for name in _names(space, self.gallery)}
        patches = self.gallery.patches(numbers) if method == 'region' else None
        hits = self._search(_Queries(embeddings, patches, numbers), k, _How(space, where, method, depth, options))
        for result, found in zip(results, to_search_hits(self.gallery, hits)):
            result.hits = found
        return results

    def add(self, images: Any, **options: Any) -> EncodingReport:
        """Encode images into the gallery; takes the arguments of :func:`glsim_mm.search.add_images`.

        Raises:
            UserError: If the gallery was not opened ``writable``, or there is no model.
        """
        if self.encoder is None:
            raise RetrievalError('adding images needs the model: give config and checkpoint to open')
        return add_images(self.gallery.as_writer(), self.encoder, images, **options)

    def remove(self, ids: Iterable[int] | None = None, where: Any = None) -> int:
        """Take rows out of the gallery.

        Args:
            ids: Which.
            where: Or those that a filter lets through.

        Returns:
            How many.
        """
        return self.gallery.as_writer().remove(
            ids=None if ids is None else np.asarray(list(ids), np.int64), where=where
        )

    def write_results(
        self,
        results: Sequence[SearchResult],
        path: str | Path,
        root: str | Path | None = None,
        columns: int = 5,
        heatmaps: bool = False,
    ) -> None:
        """Write results to a file of the kind that its name says.

        Args:
            results: Of this gallery.
            path: ``.json``; ``.html``, a page with photos and boxes; or a picture such as ``.png``.
            root: Where relative paths of photos begin. Defaults to the folder that was encoded.
            columns: Hits beside each other in a picture.
            heatmaps: Lay similarity maps over the photos of a picture.

        Raises:
            RetrievalError: If there is nothing to draw, or the file cannot be written.
        """
        write_results(results, path, self.gallery.manifest, root, columns, heatmaps)

    def close(self) -> None:
        """Close the gallery."""
        self.gallery.close()

    def __enter__(self) -> ImageSearch:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _search(self, queries: _Queries, k: int, how: _How) -> Hits:
        """Search, leave out the queries themselves, re-rank."""
        own = queries.ids is not None
        wanted = (k if how.method is None else max(k, how.depth)) + own
        filters = dict(space=how.space, where=how.where)
        hits = self.gallery.search(queries.embeddings, wanted, transformed=True, **filters, **how.options)
        if own:
            hits = _without_own(hits, queries.ids, wanted - 1)
        if how.method is None:
            return hits
        more: dict[str, Any] = {}
        if how.method == 'region':
            more = dict(query_patches=queries.patches, whitening=self._patch_whitening())
        hits = rerank(
            self.gallery, queries.embeddings, hits, how.method,
            depth=how.depth, k=k + own, transformed=True, **filters, **more,
        )  # fmt: skip
        return _without_own(hits, queries.ids, k) if own else hits

    def _patch_whitening(self) -> Any:
        """Learned of the gallery's patches when it is first needed."""
        generation = self.gallery.manifest.generation
        if self._whitening is None or self._whitening[0] != generation:
            self._whitening = generation, fit_patch_whitening(self.gallery)
        return self._whitening[1]


def to_search_hits(gallery: GalleryReader, hits: Hits) -> list[list[SearchHit]]:
    """Hits of each query with their records; one look into the gallery for all."""
    found = np.unique(hits.ids[hits.ids >= 0])
    records = {record.id: record for record in gallery.records(found)}
    return [
        [
            SearchHit(rank, score, records[number])
            for rank, (score, number) in enumerate(zip(scores, ids), start=1)
            if number >= 0
        ]
        for scores, ids in zip(hits.scores.tolist(), hits.ids.tolist())
    ]


def _names(space: str | dict[str, float] | None, gallery: GalleryReader) -> list[str]:
    """Spaces that a search compares."""
    if space is None:
        return [next(iter(gallery.manifest.spaces))]
    return [space] if isinstance(space, str) else list(space)


def _without_own(hits: Hits, ids: np.ndarray | None, k: int) -> Hits:
    """The first k hits that are not the query itself."""
    if ids is None:
        return hits
    order = np.argsort(hits.ids == ids[:, None], axis=1, kind='stable')[:, :k]
    scores, numbers = np.take_along_axis(hits.scores, order, 1), np.take_along_axis(hits.ids, order, 1)
    return Hits(scores, np.where(numbers == ids[:, None], -1, numbers))
