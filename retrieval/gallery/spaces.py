"""The spaces of a gallery, and embeddings on their way into it: checked, whitened, of unit length for cosine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import RetrievalError
from ..records import check_flag
from ..vectors import as_array, check_embeddings, unit_length
from ..whitening import Whitening
from .contract import Embeddings, GalleryReader, Space


@dataclass(frozen=True)
class Spaces:
    """The metric and the spaces of a gallery, the default one first, and what becomes of embeddings that are compared.

    Example:
        >>> Spaces('cosine', {'global': 384}, {}).queries(embeddings, 'global')
    """

    metric: str
    dimensions: Mapping[str, int]
    transforms: Mapping[str, Whitening]

    @classmethod
    def of(cls, gallery: GalleryReader) -> Spaces:
        """The spaces of a gallery."""
        manifest = gallery.manifest
        return cls(manifest.metric, manifest.spaces, gallery.transforms)

    def space(self, name: str | None) -> str:
        """A space by its name, the first for None; RetrievalError if there is none."""
        if name is None:
            return next(iter(self.dimensions))
        if not isinstance(name, str) or name not in self.dimensions:
            raise RetrievalError(f'the gallery has no space {name!r}; it has {", ".join(self.dimensions)}')
        return name

    def source(self, name: str) -> str:
        """The space whose embeddings of the model a space compares: itself, unless it was learned from another."""
        found = self.transforms.get(name)
        return name if found is None or not found.source else found.source

    @property
    def given(self) -> list[str]:
        """Spaces whose embeddings the model gives, that of the default one first; the others are computed."""
        return list(dict.fromkeys(map(self.source, self.dimensions)))

    def weights(self, space: Space) -> dict[str, float]:
        """Spaces that a search compares, with their weights; RetrievalError if one is not there."""
        weights = dict(space) if isinstance(space, Mapping) else {self.space(space): 1.0}
        for name in weights:
            self.space(name)
        return weights

    def transform(self, embeddings: np.ndarray, space: str) -> np.ndarray:
        """Embeddings of the model, which are those of the space's :meth:`source`, whitened where the space is."""
        found = self.transforms.get(space)
        array = as_array(embeddings, 'embeddings')
        if found is None:
            return array
        return found.apply(self.transform(array, found.source) if found.source else array)

    def pick(self, queries: Embeddings, space: str, transformed: bool = False) -> np.ndarray:
        """Queries of one space, whitened but not checked; RetrievalError if there are none."""
        check_flag(transformed, 'transformed')
        if isinstance(queries, Mapping):
            name = space if transformed else self.source(space)
            if name not in queries:
                raise RetrievalError(
                    f'there are no queries for the space {name!r}, only for {", ".join(map(str, queries))}'
                )
            queries = queries[name]
        return as_array(queries, 'queries') if transformed else self.transform(queries, space)

    def queries(self, queries: Embeddings, space: str, transformed: bool = False) -> np.ndarray:
        """Queries of one space as they are compared, float32 (m, d); RetrievalError if they do not fit."""
        return self._prepare(self.pick(queries, space, transformed), space, 'queries')

    def fused_queries(
        self, queries: Embeddings, weights: Mapping[str, float], transformed: bool = False
    ) -> dict[str, np.ndarray]:
        """Queries of every space that has a weight; RetrievalError if there are none or a weight is not above 0."""
        if not weights or not all(_is_weight(weight) for weight in weights.values()):
            raise RetrievalError(f'weights of spaces must be above 0, got {dict(weights)}')
        if not isinstance(queries, Mapping):
            raise RetrievalError(f'give queries of each space: {{{", ".join(map(str, weights))}: ...}}')
        return self.compared(queries, weights, transformed)

    def compared(self, queries: Embeddings, space: Space, transformed: bool = False) -> dict[str, np.ndarray]:
        """Queries of every space that a search compares; RetrievalError if there are none or they do not fit."""
        names = list(self.weights(space))
        if len(names) > 1 and not isinstance(queries, Mapping):
            raise RetrievalError(f'spaces {", ".join(names)} need queries of each: give a dict of arrays')
        return {name: self.queries(queries, name, transformed) for name in names}

    def rows(
        self, embeddings: Embeddings, transformed: bool = False, count: int | None = None
    ) -> dict[str, np.ndarray]:
        """New embeddings of some spaces as they are stored, float32 (n, d); RetrievalError if they do not fit."""
        check_flag(transformed, 'transformed')
        names = list(self.dimensions) if transformed else self.given
        if not isinstance(embeddings, Mapping):
            if len(names) != 1:
                raise RetrievalError(f'name the space of embeddings, as {{{", ".join(names)}: ...}}')
            embeddings = {names[0]: embeddings}
        if not transformed:
            for name in embeddings:
                if self.space(name) not in names:
                    raise RetrievalError(f'{name} is computed from {self.source(name)}: give embeddings of that alone')
            computed = {name: self.source(name) for name in self.dimensions if name not in names}
            more = {name: embeddings[source] for name, source in computed.items() if source in embeddings}
            embeddings = {**embeddings, **more}
        vectors = {}
        for name, array in embeddings.items():
            own = as_array(array, f'embeddings of {name}') if transformed else self.transform(array, self.space(name))
            vectors[self.space(name)] = self._prepare(own, name, f'embeddings of {name}')
            if count is not None and len(vectors[name]) != count:
                raise RetrievalError(f'{len(vectors[name])} embeddings of {name} were given for {count} ids')
        if len({len(array) for array in vectors.values()}) > 1:
            raise RetrievalError('every space needs as many embeddings as the others')
        return vectors

    def whole_rows(self, embeddings: Embeddings, transformed: bool = False) -> dict[str, np.ndarray]:
        """New embeddings of every space; see :meth:`rows`."""
        vectors = self.rows(embeddings, transformed)
        wanted = self.dimensions if transformed else self.given
        missing = [name for name in wanted if name not in vectors]
        if missing:
            raise RetrievalError(
                f'embeddings of {", ".join(missing)} are missing; the gallery holds them for every row'
            )
        return vectors

    def take_the_same(self, other: Spaces) -> bool:
        """Whether both compare the same embeddings of a model, but for metrics that were learned from them."""
        sides = [
            (each.metric, {name: each.dimensions[name] for name in each.given}, each._prints(each.given))
            for each in (self, other)
        ]
        return sides[0] == sides[1]

    def _prints(self, names: Iterable[str]) -> dict[str, str]:
        return {name: self.transforms[name].fingerprint for name in names if name in self.transforms}

    def taken_from(self, other: GalleryReader, ids: np.ndarray, name: str, kept_as: str | None = None) -> np.ndarray:
        """Rows of a gallery of the same model as a space of this one compares them, float32 (n, d).

        ``kept_as`` names other embeddings of the rows to take in their place. RetrievalError unless the gallery keeps
        the space, or the one that it is computed from, in the same form.
        """
        spaces = Spaces.of(other)
        if kept_as is not None:
            vectors = other.vectors(ids, kept_as)
            is_computed = self.source(name) != name and spaces.source(kept_as) == kept_as
            return self.transforms[name].apply(vectors) if is_computed else vectors
        for own in dict.fromkeys((self.space(name), self.source(name))):
            if own in spaces.dimensions and self._prints([own]) == spaces._prints([own]):
                vectors = other.vectors(ids, own)
                return vectors if own == name else self.transforms[name].apply(vectors)
        raise RetrievalError(
            f'{other.location} does not keep {name} in the form of the gallery that is searched: give both the same '
            'whitening or metric, or name another space'
        )

    def added(self, name: str, transform: Whitening) -> Spaces:
        """These spaces with one more, or another one of that name, which is searched by default.

        RetrievalError if it does not compute one that the model gives.
        """
        source = self.space(transform.source)
        is_given = name in self.dimensions and self.source(name) == name
        if is_given or source == name or self.source(source) != source:
            raise RetrievalError(f'{name} cannot be computed from {source}, which the model gives: name a new space')
        if transform.input_dimension != self.dimensions[source]:
            raise RetrievalError(
                f'the metric takes embeddings of dimension {transform.input_dimension}, {source} has '
                f'{self.dimensions[source]}: learn it again'
            )
        dimensions = {name: transform.output_dimension, **self.without(name, False).dimensions}
        return Spaces(self.metric, dimensions, {**self.transforms, name: transform})

    def without(self, name: str, needed: bool = True) -> Spaces:
        """These spaces without one that is computed from another; RetrievalError if there is none of that name."""
        if needed and self.source(self.space(name)) == name:
            raise RetrievalError(f'{name} holds what the model gives and stays: only a learned metric can be removed')
        dimensions = {space: size for space, size in self.dimensions.items() if space != name}
        return Spaces(self.metric, dimensions, {space: one for space, one in self.transforms.items() if space != name})

    def stored(self, embeddings: np.ndarray, space: str) -> np.ndarray:
        """Embeddings of a space, whitened where it is, as they are stored; RetrievalError if they do not fit."""
        return self._prepare(embeddings, space, f'embeddings of {space}')

    def _prepare(self, embeddings: np.ndarray, space: str, name: str) -> np.ndarray:
        array = check_embeddings(embeddings, name, self.dimensions[space])
        return unit_length(array, name) if self.metric == 'cosine' else array


def _is_weight(weight: Any) -> bool:
    is_number = isinstance(weight, (int, float, np.number)) and not isinstance(weight, bool)
    return is_number and bool(0 < weight < np.inf)


def check_patches(
    patches: np.ndarray | None, count: int, known: list[int] | None, is_empty: Callable[[], bool]
) -> np.ndarray | None:
    """Patches (n, O, C) as they are stored, float16; all rows of a gallery have them, or none.

    ``known`` are O and C of the gallery, None where it keeps no patches. Into a gallery without rows anything may go;
    ``is_empty`` is asked only where that matters.
    """
    if patches is None:
        if known is not None and not is_empty():
            raise RetrievalError('the gallery keeps patches of every row: give patches of the new ones too')
        return None
    array = as_array(patches, 'patches')
    if array.dtype.kind != 'f' or array.ndim != 3 or len(array) != count or 0 in array.shape:
        raise RetrievalError(f'patches must be floating point ({count}, O, C), got {array.dtype} {array.shape}')
    if list(array.shape[1:]) != known and not is_empty():
        raise RetrievalError(
            'the rows of the gallery have no patches; build the gallery again to keep them'
            if known is None
            else f'the gallery keeps patches of {known}, not of {list(array.shape[1:])}'
        )
    return array.astype(np.float16)


def parse_space(text: str | None) -> str | dict[str, float] | None:
    """Which embeddings a search compares, as people type it: ``'aggregated'``, or weights ``'global=0.5,crop=0.5'``."""
    if text is None or '=' not in text:
        return text
    weights: dict[str, float] = {}
    for part in text.split(','):
        name, _, number = part.partition('=')
        try:
            weight = float(number)
        except ValueError:
            weight = 0.0
        if not name or name in weights or not 0 < weight < float('inf'):
            raise RetrievalError(f'--space {text}: write weights above 0, each space once, as global=0.5,crop=0.5')
        weights[name] = weight
    return weights
