"""Learned linear maps of embeddings: PCA-whitening without labels, and within-class whitening with them."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .errors import RetrievalError
from .vectors import check_embeddings, import_faiss, unit_length

_ROUNDING = 1e-6  # of a covariance in float32, as a share of its largest eigenvalue
DEFAULT_SHRINKAGE = 0.3
JOINT = '+'  # between the names of spaces whose embeddings are added up
_FIELDS = ('matrix', 'bias', 'normalize')


class Residual(NamedTuple):
    """A perceptron with one hidden layer whose output is added to embeddings, float32; see :mod:`retrieval.adapter`.

    Attributes:
        first: (hidden width, d).
        first_bias: (hidden width,).
        second: (d, hidden width).
        second_bias: (d,).
    """

    first: np.ndarray
    first_bias: np.ndarray
    second: np.ndarray
    second_bias: np.ndarray

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """Embeddings of length 1 (n, d), moved and of length 1 again."""
        hidden = np.maximum(rows @ self.first.T + self.first_bias, 0)
        return unit_length(rows + hidden @ self.second.T + self.second_bias)


class Whitening:
    """A learned linear map of embeddings, of :meth:`fit` without labels or :meth:`fit_classes` with them.

    Example:
        >>> whitening = Whitening.fit(embeddings, dimension=128)
        >>> whitening.apply(embeddings).shape[1]
        128

    Args:
        matrix: float32, (output dimension, input dimension).
        bias: float32, (output dimension,).
        normalize: Whether to scale embeddings to length 1 before.
        source: Space of a gallery whose embeddings are mapped, or several as ``'global+crop'``, of whose
            :func:`add_views` is mapped; '' for the very space that the map belongs to.
        notes: How it was learned, in types that JSON knows.
        residual: What embeddings of length 1 go through first.
    """

    def __init__(
        self,
        matrix: np.ndarray,
        bias: np.ndarray,
        normalize: bool = True,
        source: str = '',
        notes: Mapping[str, Any] | None = None,
        residual: Residual | None = None,
    ) -> None:
        matrix, bias = np.asarray(matrix), np.asarray(bias)
        if matrix.ndim != 2 or 0 in matrix.shape or bias.shape != matrix.shape[:1]:
            raise RetrievalError(f'a whitening of matrix {matrix.shape} and bias {bias.shape} is damaged; fit it again')
        if matrix.dtype != np.float32 or bias.dtype != np.float32 or not np.isfinite(matrix).all():
            raise RetrievalError('a whitening that is not of finite float32 numbers is damaged; fit it again')
        if residual is not None:
            self._check_residual(residual, matrix.shape[1], normalize)
        self.residual = residual
        self.matrix = matrix
        self.bias = bias
        self.normalize = bool(normalize)
        self.source = source
        self.notes = dict(notes or {})

    @staticmethod
    def _check_residual(residual: Residual, width: int, normalize: bool) -> None:
        """Refuse what :meth:`apply` could not use."""
        hidden = residual.first.shape[0] if residual.first.ndim == 2 else 0
        shapes = [(hidden, width), (hidden,), (width, hidden), (width,)]
        is_whole = all(one.dtype == np.float32 and bool(np.isfinite(one).all()) for one in residual)
        if not hidden or [one.shape for one in residual] != shapes or not is_whole or not normalize:
            raise RetrievalError('an adapter whose arrays do not belong together is damaged; fit it again')

    @property
    def input_dimension(self) -> int:
        """Width of the embeddings that the map takes."""
        return self.matrix.shape[1]

    @property
    def sources(self) -> tuple[str, ...]:
        """The spaces that :attr:`source` names."""
        return tuple(self.source.split(JOINT)) if self.source else ()

    @property
    def output_dimension(self) -> int:
        """Width of the embeddings that the map gives."""
        return self.matrix.shape[0]

    @classmethod
    def fit(cls, embeddings: np.ndarray, dimension: int, normalize: bool = True) -> Whitening:
        """Learn the map that gives embeddings mean 0 and variance 1 in each dimension, by FAISS's ``PCAMatrix``.

        Source: Jegou and Chum, Negative evidences and co-occurences in image retrieval, ECCV 2012.

        Args:
            embeddings: float32, (n, d), n > ``dimension``. FAISS uses 1000 d of them at most.
            dimension: Width of the result, 1 to d.
            normalize: Whether to scale embeddings to length 1 before, here and in :meth:`apply`; right for cosine
                similarity.

        Raises:
            RetrievalError: If there are too few embeddings, or they vary in fewer dimensions.
        """
        array = check_embeddings(embeddings)
        n, d = array.shape
        if not 1 <= dimension <= d:
            raise RetrievalError(f'whitening can keep 1 to {d} dimensions of these embeddings, not {dimension}')
        if n <= dimension:
            raise RetrievalError(
                f'whitening to {dimension} dimensions needs more than {dimension} embeddings, got {n}: keep fewer '
                'dimensions or encode more images'
            )
        faiss = import_faiss()
        pca = faiss.PCAMatrix(d, dimension, -0.5)
        pca.train(unit_length(array) if normalize else array)
        eigenvalues = faiss.vector_to_array(pca.eigenvalues)[:dimension]
        kept = int((eigenvalues > eigenvalues[0] * _ROUNDING).sum())
        if kept < dimension:
            raise RetrievalError(
                f'the embeddings vary in {kept} dimensions only, too few to whiten to {dimension}: keep {kept} or fewer'
            )
        # FAISS divides by the root of the sum of squares, not of their mean.
        scale = np.sqrt(min(n, pca.max_points_per_d * d))
        matrix = faiss.vector_to_array(pca.A).reshape(dimension, d) * scale
        bias = faiss.vector_to_array(pca.b) * scale
        return cls(matrix.astype(np.float32), bias.astype(np.float32), normalize)

    @classmethod
    def fit_classes(
        cls,
        embeddings: np.ndarray,
        labels: Sequence[str | None] | np.ndarray,
        shrinkage: float = DEFAULT_SHRINKAGE,
        normalize: bool = True,
    ) -> Whitening:
        """Learn the map of full width under which classes vary by the same amount in every direction.

        It is closed form, see :func:`within_class`. Rows without a label, and classes of one row, contribute to the
        mean alone, which is taken away from all embeddings.

        Args:
            embeddings: Floating point, (n, d).
            labels: Class of each embedding; None for no label.
            shrinkage: Share of a multiple of the identity in the covariance, above 0 and up to 1, which changes
                nothing.
            normalize: As in :meth:`fit`.

        Raises:
            RetrievalError: If fewer than two classes have two rows, or rows of a class do not differ.
        """
        if not 0 < shrinkage <= 1:
            raise RetrievalError(f'shrinkage must be above 0 and at most 1, got {shrinkage}')
        array = check_embeddings(embeddings)
        if len(labels) != len(array):
            raise RetrievalError(f'there are {len(array)} embeddings but {len(labels)} labels')
        rows = unit_length(array) if normalize else array
        return within_class(rows, labels).whitening(shrinkage, rows.mean(axis=0, dtype=np.float64), normalize)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what the map does, hexadecimal: equal for maps that give the same embeddings."""
        digest = hashlib.sha256(f'{self.matrix.shape} {self.normalize} {self.source}'.encode())
        for array in (self.matrix, self.bias, *(self.residual or ())):
            digest.update(np.ascontiguousarray(array, '<f4').tobytes())
        return digest.hexdigest()

    def apply(self, embeddings: np.ndarray) -> np.ndarray:
        """Whitened embeddings, float32 (n, output dimension), not of length 1; RetrievalError if they do not fit."""
        array = check_embeddings(embeddings, dimension=self.input_dimension)
        rows = unit_length(array) if self.normalize else array
        if self.residual is not None:
            rows = self.residual.apply(rows)
        return rows @ self.matrix.T + self.bias

    def to_bytes(self) -> bytes:
        """The map as bytes, in NumPy's ``.npz`` format."""
        buffer = io.BytesIO()
        about = dict(source=np.array(self.source), notes=np.array(json.dumps(self.notes))) if self.source else {}
        about.update({} if self.residual is None else self.residual._asdict())
        np.savez(buffer, matrix=self.matrix, bias=self.bias, normalize=np.array(self.normalize), **about)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Whitening:
        """The map from the bytes of :meth:`to_bytes`; RetrievalError if they are damaged. No code in them is run."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                matrix, bias, normalize = (arrays[name] for name in _FIELDS)
                source = str(arrays['source']) if 'source' in arrays else ''
                notes = json.loads(str(arrays['notes'])) if 'notes' in arrays else {}
                has_residual = Residual._fields[0] in arrays
                residual = Residual(*(arrays[name] for name in Residual._fields)) if has_residual else None
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise RetrievalError(f'a whitening is damaged ({error}); build the gallery again') from error
        return cls(matrix, bias, bool(normalize), source, notes, residual)


def add_views(parts: Sequence[np.ndarray]) -> np.ndarray:
    """One embedding of several views of a photo: the sum of their embeddings (n, d), each scaled to length 1, float32.

    Its cosine similarity is that of whole sets of views, each with each. A single view stays as it is.

    Raises:
        RetrievalError: If views differ in number or dimension, or a row is all zeros.
    """
    if len(parts) == 1:
        return parts[0]
    arrays = [unit_length(check_embeddings(part)) for part in parts]
    if len({array.shape for array in arrays}) > 1:
        shapes = ', '.join(str(array.shape) for array in arrays)
        raise RetrievalError(f'only embeddings of one shape can be added up, these are {shapes}: leave a space out')
    return np.sum(arrays, axis=0, dtype=np.float32)


def check_classes(labels: Sequence[str | None] | np.ndarray) -> None:
    """Refuse (RetrievalError) labels of which fewer than two classes have two rows."""
    several = sum(size > 1 for size in Counter(str(one) for one in labels if one is not None).values())
    if several < 2:
        raise RetrievalError(
            f'a metric needs two classes of two photos or more, there are {several}: give more photos their labels'
        )


class WithinClass(NamedTuple):
    """How embeddings vary within their classes: the covariance (d, d) as ``axes @ diag(variances) @ axes.T``, float64.

    Variances are shares of their mean, so that a multiple of the identity has ones.
    """

    variances: np.ndarray
    axes: np.ndarray

    def whitening(self, shrinkage: float, mean: np.ndarray, normalize: bool = True) -> Whitening:
        """The map that takes away a mean (d,), then divides by the root of the covariance.

        The covariance is shrunk towards a multiple of the identity; see :meth:`Whitening.fit_classes`.
        """
        shrunk = (1 - shrinkage) * self.variances + shrinkage
        matrix = (self.axes / np.sqrt(shrunk)) @ self.axes.T
        return Whitening(matrix.astype(np.float32), (-matrix @ mean).astype(np.float32), normalize)


def within_class(rows: np.ndarray, labels: Sequence[str | None] | np.ndarray) -> WithinClass:
    """The pooled covariance of embeddings (n, d) around the means of their classes; a label may be None.

    What differs within a class tells nothing about the class, so a search does better to give all such directions the
    same weight: within-class covariance normalisation (Hatch, Kajarekar and Stolcke, Within-class covariance
    normalization for SVM-based speaker recognition, Interspeech 2006). With few labels the covariance is shrunk
    towards a multiple of the identity, as in regularised discriminant analysis (Friedman, JASA 84, 1989). For frozen
    embeddings and classes that were not seen see arXiv 1912.03432 and 2602.01127.

    RetrievalError if fewer than two classes have two rows, or rows of a class do not differ.
    """
    check_classes(labels)
    known = np.array([one is not None for one in labels])
    codes = np.unique([str(one) for one in labels if one is not None], return_inverse=True)[1]
    counted = np.bincount(codes)[codes] > 1
    array = np.asarray(rows, np.float64)[known][counted]
    codes = np.unique(codes[counted], return_inverse=True)[1]
    sizes = np.bincount(codes)
    means = np.zeros((len(sizes), array.shape[1]))
    np.add.at(means, codes, array)
    deviations = array - (means / sizes[:, None])[codes]
    variances, axes = np.linalg.eigh(deviations.T @ deviations / (len(array) - len(sizes)))
    mean = variances.mean()
    if not mean > _ROUNDING**2 * np.square(array).mean():
        raise RetrievalError('photos of one class all have the same embedding, so that there is nothing to learn')
    return WithinClass(variances.clip(min=0) / mean, axes)
