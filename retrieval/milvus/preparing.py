"""Embeddings on their way into Milvus: checked, whitened, of unit length for cosine."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import RetrievalError
from ..gallery.contract import Embeddings
from ..vectors import check_embeddings, unit_length
from ..whitening import Whitening


@dataclass(frozen=True)
class Preparation:
    """What becomes of embeddings before they are compared.

    Attributes:
        metric: ``'cosine'``, ``'ip'`` or ``'l2'``.
        spaces: Name -> stored dimension, the default one first.
        transforms: Of the spaces that have one.
    """

    metric: str
    spaces: Mapping[str, int]
    transforms: Mapping[str, Whitening]

    def space(self, name: str | None) -> str:
        """A space by its name, the first for None; RetrievalError if there is none."""
        if name is None:
            return next(iter(self.spaces))
        if name not in self.spaces:
            raise RetrievalError(f'the gallery has no space {name!r}; it has {", ".join(self.spaces)}')
        return name

    def transform(self, embeddings: np.ndarray, space: str) -> np.ndarray:
        """Embeddings of the model, whitened where the space is."""
        found = self.transforms.get(space)
        return np.asarray(embeddings) if found is None else found.apply(np.asarray(embeddings))

    def queries(self, queries: Embeddings, space: str, transformed: bool) -> np.ndarray:
        """Queries of one space, float32 (m, d); RetrievalError if there are none or they do not fit."""
        if isinstance(queries, Mapping):
            if space not in queries:
                raise RetrievalError(f'there are no queries for the space {space!r}, only for {", ".join(queries)}')
            queries = queries[space]
        return self._one(queries, space, 'queries', transformed)

    def fused_queries(
        self, queries: Embeddings, weights: Mapping[str, float], transformed: bool
    ) -> dict[str, np.ndarray]:
        """Queries of every space that has a weight; RetrievalError if there are none or a weight is not above 0."""
        if not weights or any(not 0 < weight < np.inf for weight in weights.values()):
            raise RetrievalError(f'weights of spaces must be above 0, got {dict(weights)}')
        if not isinstance(queries, Mapping):
            raise RetrievalError(f'give queries of each space: {{{", ".join(weights)}: ...}}')
        return {name: self.queries(queries, self.space(name), transformed) for name in weights}

    def rows(self, embeddings: Embeddings, transformed: bool) -> dict[str, np.ndarray]:
        """New embeddings of some spaces.

        Args:
            embeddings: Floating point, (n, d), of each space.
            transformed: They are whitened already.

        Returns:
            float32, (n, d), of each space.

        Raises:
            RetrievalError: If something does not fit.
        """
        if not isinstance(embeddings, Mapping):
            if len(self.spaces) != 1:
                raise RetrievalError(f'name the space of embeddings, as {{{", ".join(self.spaces)}: ...}}')
            embeddings = {self.space(None): embeddings}
        vectors = {
            name: self._one(array, self.space(name), f'embeddings of {name}', transformed)
            for name, array in embeddings.items()
        }
        if len({len(array) for array in vectors.values()}) > 1:
            raise RetrievalError('every space needs as many embeddings as the others')
        return vectors

    def whole_rows(self, embeddings: Embeddings, transformed: bool) -> dict[str, np.ndarray]:
        """New embeddings of every space; see :meth:`rows`."""
        vectors = self.rows(embeddings, transformed)
        missing = [name for name in self.spaces if name not in vectors]
        if missing:
            raise RetrievalError(
                f'embeddings of {", ".join(missing)} are missing; the gallery holds them for every row'
            )
        return vectors

    def _one(self, embeddings: np.ndarray, space: str, name: str, transformed: bool) -> np.ndarray:
        own = embeddings if transformed else self.transform(embeddings, space)
        array = check_embeddings(own, name, self.spaces[space])
        return unit_length(array, name) if self.metric == 'cosine' else array
