"""The spaces of a gallery, and embeddings on their way into it: checked, whitened, of unit length for cosine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import RetrievalError
from ..records import check_flag
from ..vectors import as_array, check_embeddings, unit_length
from ..whitening import Whitening, add_views
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

    def sources(self, name: str) -> tuple[str, ...]:
        """The spaces whose embeddings of the model a space compares: itself, unless it is computed from others."""
        found = self.transforms.get(name)
        return (found.sources if found is not None else ()) or (name,)

    def is_given(self, name: str) -> bool:
        """Whether the model gives a space, which is not computed from others."""
        return self.sources(name) == (name,)

    @property
    def given(self) -> list[str]:
        """Spaces whose embeddings the model gives, that of the default one first; the others are computed."""
        return list(dict.fromkeys(name for space in self.dimensions for name in self.sources(space)))

    def weights(self, space: Space) -> dict[str, float]:
        """Spaces that a search compares, with their weights; RetrievalError if one is not there."""
        weights = dict(space) if isinstance(space, Mapping) else {self.space(space): 1.0}
        for name in weights:
            self.space(name)
        return weights

    def transform(self, embeddings: Embeddings, space: str, what: str = 'embeddings of') -> np.ndarray:
        """Embeddings of the model, of each of the space's :meth:`sources`, as it compares them, but not yet scaled.

        A plain array is of the only source. RetrievalError, which calls them ``what``, if some are missing or do not
        fit.
        """
        names = self.sources(space)
        if isinstance(embeddings, Mapping):
            parts = [as_array(_pick(embeddings, name, what), f'embeddings of {name}') for name in names]
        elif len(names) > 1:
            raise RetrievalError(f'{space} is the sum of {", ".join(names)}: give embeddings of each of them')
        else:
            parts = [as_array(embeddings, 'embeddings')]
        found = self.transforms.get(space)
        if found is None:
            return parts[0]
        own = [self.transform(*pair) for pair in zip(parts, names)] if found.source else parts
        return found.apply(add_views(own))

    def pick(self, queries: Embeddings, space: str, transformed: bool = False) -> np.ndarray:
        """Queries of one space, whitened but not checked; RetrievalError if there are none."""
        check_flag(transformed, 'transformed')
        if not transformed:
            return self.transform(queries, space, 'queries for')
        found = _pick(queries, space, 'queries for') if isinstance(queries, Mapping) else queries
        return as_array(found, 'queries')

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
        computed = []
        for name in () if transformed else embeddings:
            if self.space(name) not in names:
                raise RetrievalError(
                    f'{name} is computed from {" and ".join(self.sources(name))}: give embeddings of that alone'
                )
        for name in () if transformed else self.dimensions:
            there = [source in embeddings for source in self.sources(name)]
            if name not in names and any(there):
                computed.append(name)
                if not all(there):
                    raise RetrievalError(
                        f'{name} is computed from {" and ".join(self.sources(name))}: give embeddings of all of them'
                    )
        vectors = {}
        for name in [*embeddings, *computed]:
            what = f'embeddings of {name}'
            own = as_array(embeddings[name], what) if transformed else self.transform(embeddings, self.space(name))
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
            is_computed = not self.is_given(name) and spaces.is_given(kept_as)
            return self.transforms[name].apply(vectors) if is_computed else vectors
        for own in dict.fromkeys(((self.space(name),), self.sources(name))):
            if all(one in spaces.dimensions for one in own) and self._prints(own) == spaces._prints(own):
                vectors = add_views([other.vectors(ids, one) for one in own])
                return vectors if own == (name,) else self.transforms[name].apply(vectors)
        raise RetrievalError(
            f'{other.location} does not keep {name} in the form of the gallery that is searched: give both the same '
            'whitening or metric, or name another space'
        )

    def added(self, name: str, transform: Whitening) -> Spaces:
        """These spaces with one more, or another one of that name, which is searched by default.

        RetrievalError if it does not compute one that the model gives.
        """
        sources = [self.space(source) for source in transform.sources]
        is_given = name in self.dimensions and self.is_given(name)
        if is_given or name in sources or not sources or not all(map(self.is_given, sources)):
            raise RetrievalError(
                f'{name} cannot be computed from {" and ".join(sources)}, which the model gives: name a new space'
            )
        for source in sources:
            if transform.input_dimension != self.dimensions[source]:
                raise RetrievalError(
                    f'the metric takes embeddings of dimension {transform.input_dimension}, {source} has '
                    f'{self.dimensions[source]}: learn it again'
                )
        dimensions = {name: transform.output_dimension, **self.without(name, False).dimensions}
        return Spaces(self.metric, dimensions, {**self.transforms, name: transform})

    def without(self, name: str, needed: bool = True) -> Spaces:
        """These spaces without one that is computed from another; RetrievalError if there is none of that name."""
        if needed and self.is_given(self.space(name)):
            raise RetrievalError(f'{name} holds what the model gives and stays: only a learned metric can be removed')
        dimensions = {space: size for space, size in self.dimensions.items() if space != name}
        return Spaces(self.metric, dimensions, {space: one for space, one in self.transforms.items() if space != name})

    def stored(self, embeddings: np.ndarray, space: str) -> np.ndarray:
        """Embeddings of a space, whitened where it is, as they are stored; RetrievalError if they do not fit."""
        return self._prepare(embeddings, space, f'embeddings of {space}')

    def _prepare(self, embeddings: np.ndarray, space: str, name: str) -> np.ndarray:
        array = check_embeddings(embeddings, name, self.dimensions[space])
        return unit_length(array, name) if self.metric == 'cosine' else array


def _pick(embeddings: Mapping[str, np.ndarray], space: str, what: str) -> np.ndarray:
    if space not in embeddings:
        there = ', '.join(map(str, embeddings))
        raise RetrievalError(f'there are no {what} the space {space!r}, only {what.rpartition(" ")[2]} {there}')
    return embeddings[space]


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
