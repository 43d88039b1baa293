"""From a folder and a checkpoint to ranked results with the region that matched, in a few lines."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.answers import SearchHit, SearchResult
from retrieval.errors import RetrievalError
from retrieval.gallery import GalleryReader, Record, open_gallery
from retrieval.gallery.roots import Moves
from retrieval.gallery.spaces import Spaces
from retrieval.hits import Hits
from retrieval.ranking import check_method, fit_options, fit_patch_whitening, rerank
from retrieval.records import check_count, check_flag, read_ids

from ..images.photos import ImageInput
from .adding import add_images, encoder_for
from .base_encoder import CROP, GLOBAL, BaseEncoder
from .encoded import Encoded, EncodingReport
from .explaining import explain_hits, keeps_patches
from .pretrained_settings import FrozenSettings, check_text
from .result_pages import write_results
from .sync_report import SyncReport
from .syncing import sync_images

_logger = logging.getLogger(__name__)


@dataclass
class Queries:
    """Photos, rows or texts as a gallery compares them; :class:`ImageSearch` makes them and finds their hits.

    Attributes:
        gallery: The state of the gallery that they are for.
        space: What is compared, as in :meth:`ImageSearch.__call__`.
        records: What is known of each, m of them.
        vectors: (m, d) of each space, whitened where the space is.
        patches: (m, O, C), tokens of the selected patches of photos, if they were kept.
        ids: (m,), of rows of the gallery, which are not their own hits; None for other queries.
        others: Further photos of the same individual, of one query that stands for several.
    """

    gallery: GalleryReader
    space: str | dict[str, float] | None
    records: list[Record]
    vectors: dict[str, np.ndarray]
    patches: np.ndarray | None = None
    ids: np.ndarray | None = None
    others: Sequence[Record] = ()

    def merged(self) -> Queries:
        """One query for all, which are photos of one individual: the mean of their vectors, at unit length first."""
        if len(self.records) == 1:
            return self
        vectors = {}
        for name, rows in self.vectors.items():
            if self.gallery.manifest.metric == 'cosine':
                rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
            vectors[name] = rows.mean(axis=0, keepdims=True)
        return replace(self, records=self.records[:1], vectors=vectors, patches=None, others=self.records[1:])

    def left_out(self, exclude_same: bool) -> list[np.ndarray] | None:
        """For each query, ids of rows that are not its hits: itself, and those of its content if this is asked for."""
        exclude = None if self.ids is None else list(self.ids[:, None])
        if not exclude_same:
            return exclude
        same = self.gallery.same_content([record.content_hash for record in (*self.records, *self.others)])
        same = [np.unique(np.concatenate(same))] if self.others else same
        return same if exclude is None else [np.union1d(*both) for both in zip(exclude, same)]


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
        self._tuning: tuple[Any, dict[str, Any]] | None = None

    @classmethod
    def build(
        cls, images: Any, config: str | Path, checkpoint: str | Path, location: str | Path, **options: Any
    ) -> ImageSearch:
        """Encode images into a new gallery, as :func:`glsim_mm.search.build_gallery` does, and open it."""
        from .building import build_gallery  # needs torch and mmengine, which searching does without

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
        index_device: str = 'auto',
        amp: bool | str = False,
        writable: bool = False,
        with_model: bool = True,
        **server: Any,
    ) -> ImageSearch:
        """Open an existing gallery.

        Args:
            location: Folder of the gallery, or ``milvus://...``.
            config: Config of the model that made it; :func:`glsim_mm.search.encoder_for` takes it and the next three.
            checkpoint: Its weights.
            device: Where the model runs.
            index_device: Where the gallery is searched, see :func:`retrieval.gallery.open_gallery`.
            amp: Mixed precision.
            writable: Allow :meth:`add`, :meth:`sync` and :meth:`remove`.
            with_model: Load the model; without it, the gallery can be searched by its own rows.
            **server: ``encoder_url`` and ``encoder_token``, where another server runs the model.

        Raises:
            UserError: If the gallery is damaged, or was made by another model.
        """
        gallery = open_gallery(location, writable=writable, device=index_device)
        try:
            model = dict(device=device, amp=amp, **server)
            encoder = encoder_for(gallery, config, checkpoint, **model) if with_model else None
        except BaseException:
            gallery.close()
            raise
        return cls(gallery, encoder)

    def __call__(
        self,
        images: ImageInput | Iterable[ImageInput],
        k: int = 10,
        *,
        box: Sequence[float] | None = None,
        space: str | dict[str, float] | None = None,
        explain: bool = False,
        root: Moves = None,
        **options: Any,
    ) -> list[SearchResult]:
        """Search with images.

        Args:
            images: Paths, folders, glob patterns, arrays (BGR), Pillow images, files' bytes, or several of these.
            k: Hits per query, >= 1.
            box: Look only at this part of the photo, ``x0, y0, x1, y1`` in its pixels.
            space: Which embeddings to compare, or weights of several. Defaults to the gallery's first.
            explain: Say which patches of a hit are like which of the query: ``matches`` of each hit. In a gallery that
                does not keep patches with their places, the photos of hits are encoded again.
            root: Where those photos lie, if elsewhere than the roots of the gallery say.
            **options: ``where``, a filter, see :func:`retrieval.gallery.read_conditions`; ``group_by``, a column, of
                whose every value only the best row is a hit; ``exclude_same``, which leaves out rows whose content is
                that of the query, whatever their paths; ``method``, which re-ranks the first ``depth`` (100) hits by
                its ``method_options``, see :func:`retrieval.ranking.rerank`; ``rescore`` and ``parameters`` of the
                gallery's search.

        Returns:
            One per image, in order; an unreadable one carries ``error``.

        Raises:
            UserError: If there is no model, or an argument is out of range.
        """
        Spaces.of(self.gallery).weights(space)
        encoder = self._encoder_or_refuse('searching with')
        encoded = (encoder.with_patches() if explain else encoder).encode(images, box=box)
        found = []
        if encoded.records:
            found = self.find(self.encoded_queries(encoded, space), k, explain=explain, root=root, **options)
        results = dict(zip(encoded.positions.tolist(), found))
        for error in encoded.errors:
            results[error.position] = SearchResult(Record(path=error.path), error=error.reason)
        return [results[position] for position in sorted(results)]

    def by_text(
        self,
        texts: str | Sequence[str],
        k: int = 10,
        *,
        space: str | dict[str, float] | None = None,
        **options: Any,
    ) -> list[SearchResult]:
        """Search with texts, which needs a gallery of a CLIP or SigLIP that lies there with its text tower.

        Args:
            texts: What is to be seen, for example ``'a photo of a red cap'``.
            k: Hits per text, >= 1.
            space: Embeddings to compare, or weights of several: ``'global'``, the default, or ``'crop'``.
            **options: As for :meth:`__call__`.

        Returns:
            One per text, in order, whose query has it as ``metadata['text']``.

        Raises:
            UserError: If there is no text tower, no such space, or an argument is out of range.
        """
        written = [texts] if isinstance(texts, str) else list(texts)
        if options.get('method') == 'region':
            raise RetrievalError('texts have no regions: choose another way of re-ranking')
        return self.find(self.text_queries(written, space), k, **options) if written else []

    def check_text(self, space: str | dict[str, float] | None = None) -> tuple[str | dict[str, float], Any]:
        """Find out, without the model, whether texts can be searched with.

        Returns:
            The space, or spaces, that they are compared with; and where the text tower is.

        Raises:
            UserError: If not.
        """
        encoder = self.gallery.manifest.origin.get('encoder')
        if not encoder:
            raise RetrievalError(
                'the model of the gallery has no text tower: search with photos, or build a gallery with a CLIP or '
                'SigLIP by --encoder'
            )
        tower = check_text(FrozenSettings.from_json(encoder).address)
        spaces = Spaces.of(self.gallery)
        plain = [name for name in spaces.dimensions if name in (GLOBAL, CROP) and name not in spaces.transforms]
        chosen = space if space is not None else plain[0] if plain else GLOBAL
        wrong = [name for name in spaces.weights(chosen) if name not in plain]
        if wrong:
            raise RetrievalError(
                f'texts are compared with global and crop as the encoder gives them, not with {wrong[0]}: '
                + (f'choose {" or ".join(plain)}' if plain else 'build the gallery with these, and without --whiten')
            )
        return chosen, tower

    def similar(
        self,
        ids: Iterable[int],
        k: int = 10,
        *,
        space: str | dict[str, float] | None = None,
        explain: bool = False,
        root: Moves = None,
        **options: Any,
    ) -> list[SearchResult]:
        """Search with rows of the gallery, which are left out of their own hits; no model is needed.

        Only to ``explain``, in a gallery that does not keep patches with their places, one is needed. The arguments are
        those of :meth:`__call__`; ``where`` filters the hits, not the queries. There is one result per id, in order.

        Raises:
            RetrievalError: If an id is not in the gallery.
        """
        return self.find(self.row_queries(ids, space), k, explain=explain, root=root, **options)

    def encoded_queries(self, encoded: Encoded, space: str | dict[str, float] | None = None) -> Queries:
        """Photos that were encoded, at least one, as queries of the newest state that this gallery has read."""
        gallery = self.gallery.snapshot()
        vectors = {name: gallery.transform(encoded.embeddings, name) for name in Spaces.of(gallery).weights(space)}
        return Queries(gallery, space, encoded.records, vectors, encoded.patches)

    def row_queries(self, ids: Iterable[int], space: str | dict[str, float] | None = None) -> Queries:
        """Rows of the gallery as queries; RetrievalError if an id is not there."""
        numbers = read_ids(ids)
        gallery = self.gallery.snapshot()
        records = gallery.records(numbers)
        vectors = {name: gallery.vectors(numbers, name) for name in Spaces.of(gallery).weights(space)}
        return Queries(gallery, space, records, vectors, ids=numbers)

    def text_queries(self, texts: Sequence[str], space: str | dict[str, float] | None = None) -> Queries:
        """Texts as queries, see :meth:`by_text`; there must be one at least."""
        space, _ = self.check_text(space)
        encode = getattr(self._encoder_or_refuse('searching with'), 'encode_text', None)
        if encode is None:
            raise RetrievalError('the model given reads no text: leave config and checkpoint out')
        gallery = self.gallery.snapshot()
        records = [Record(metadata={'text': text}) for text in texts]
        return Queries(gallery, space, records, dict.fromkeys(Spaces.of(gallery).weights(space), encode(texts)))

    def add(self, images: Any, **options: Any) -> EncodingReport:
        """Encode images into the gallery; takes the arguments of :func:`glsim_mm.search.add_images`.

        Raises:
            UserError: If the gallery was not opened ``writable``, or there is no model.
        """
        return add_images(self.gallery.as_writer(), self._encoder_or_refuse('adding'), images, **options)

    def sync(self, sources: Any = None, **options: Any) -> SyncReport:
        """Make the gallery what its folders are; takes the arguments of :func:`glsim_mm.search.sync_images`.

        The model is needed only if something must be encoded.

        Raises:
            UserError: If the gallery was not opened ``writable``, or a folder is not there or has no photo.
        """
        return sync_images(self.gallery, lambda: self._encoder_or_refuse('encoding'), sources, **options)

    def remove(self, ids: Iterable[int] | None = None, where: Any = None) -> int:
        """Take rows out of the gallery, by their ids or those that a filter lets through; gives their number."""
        return self.gallery.as_writer().remove(ids=ids, where=where).rows

    def write_results(self, results: Sequence[SearchResult], path: str | Path, *options: Any, **named: Any) -> None:
        """Write results of this gallery to a file; see :func:`glsim_mm.search.result_pages.write_results`."""
        write_results(results, path, self.gallery.manifest, *options, **named)

    def close(self) -> None:
        """Close the gallery."""
        self.gallery.close()

    def __enter__(self) -> ImageSearch:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _encoder_or_refuse(self, what: str) -> BaseEncoder:
        if self.encoder is None:
            raise RetrievalError(f'{what} images needs the model: give config and checkpoint to open')
        return self.encoder

    def find(
        self,
        queries: Queries,
        k: int = 10,
        *,
        explain: bool = False,
        root: Moves = None,
        where: Any = None,
        group_by: str | None = None,
        exclude_same: bool = False,
        method: str | None = None,
        depth: int = 100,
        method_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> list[SearchResult]:
        """Search with queries that are made already, as :meth:`__call__`, :meth:`similar` and :meth:`by_text` do."""
        check_count(k, 'k')
        check_count(depth, 'depth')
        check_flag(exclude_same, 'exclude_same')
        gallery, vectors = queries.gallery, queries.vectors
        how = dict(space=queries.space, where=where, group_by=group_by, transformed=True)
        regions: dict[str, Any] = {}
        if method is not None:
            check_method(method)
        if method == 'region':
            patches = queries.patches if queries.ids is None else gallery.patches(queries.ids)
            regions = dict(query_patches=patches, whitening=self._patch_whitening(gallery))
        how['exclude'] = queries.left_out(exclude_same)
        hits = gallery.search(vectors, k if method is None else max(k, depth), **how, **options)
        if method is not None:
            tuning = self.rerank_options(method, method_options)
            hits = rerank(gallery, vectors, hits, method, depth=depth, k=k, **how, **regions, **tuning)
        results = [SearchResult(*pair) for pair in zip(queries.records, to_search_hits(gallery, hits))]
        if explain:
            self.explain(gallery, results, queries.patches, root)
        return results

    def explain(
        self, gallery: GalleryReader, results: list[SearchResult], patches: np.ndarray | None, root: Moves = None
    ) -> None:
        """Fill in the matches of hits, by the patches that the re-ranking by regions compares.

        ``patches`` are those of the queries, (m, O, C); None for queries that are rows of the gallery.
        """
        whitening = self._patch_whitening(gallery) if keeps_patches(gallery) else None
        if whitening is None:
            _logger.warning(
                '%s keeps no patches, from which to learn what all have in common: these are compared as the model '
                'gives them, and look alike; build the gallery with --keep-patches (in Python, keep_patches=True)',
                gallery.location,
            )
        explain_hits(gallery, results, patches, whitening, self.encoder, root)

    def rerank_options(self, method: str | None, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Options that a re-ranking has: those given, and those that the gallery's classes suggest.

        They are looked for once for each state of the gallery; see :func:`retrieval.ranking.fit_options`.
        """
        state = self.gallery.manifest.generation, method, tuple(sorted((given or {}).items()))
        known = self._tuning
        if known is None or known[0] != state:
            known = self._tuning = state, fit_options(self.gallery, method, given)
        return known[1]

    def _patch_whitening(self, gallery: GalleryReader) -> Any:
        """Learnt from the patches of the gallery when it is first needed."""
        generation, known = gallery.manifest.generation, self._whitening
        if known is None or known[0] != generation:
            known = self._whitening = generation, fit_patch_whitening(gallery)
        return known[1]


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
