"""PCA-whitening of embeddings: fewer dimensions, all of the same variance, learned from the gallery without labels."""

from __future__ import annotations

import io
import zipfile

import numpy as np

from .errors import RetrievalError
from .vectors import check_embeddings, import_faiss, unit_length

_ROUNDING = 1e-6  # of a covariance in float32, as a share of its largest eigenvalue
_FIELDS = ('matrix', 'bias', 'normalize')


class Whitening:
    """A learned linear map of embeddings (Jegou and Chum, ECCV 2012), by FAISS's ``PCAMatrix``.

    Example:
        >>> whitening = Whitening.fit(embeddings, dimension=128)
        >>> whitening.apply(embeddings).shape[1]
        128

    Args:
        matrix: float32, (output dimension, input dimension).
        bias: float32, (output dimension,).
        normalize: Whether to scale embeddings to length 1 before.
    """

    def __init__(self, matrix: np.ndarray, bias: np.ndarray, normalize: bool = True) -> None:
        matrix, bias = np.asarray(matrix), np.asarray(bias)
        if matrix.ndim != 2 or 0 in matrix.shape or bias.shape != matrix.shape[:1]:
            raise RetrievalError(f'a whitening of matrix {matrix.shape} and bias {bias.shape} is damaged; fit it again')
        if matrix.dtype != np.float32 or bias.dtype != np.float32 or not np.isfinite(matrix).all():
            raise RetrievalError('a whitening that is not of finite float32 numbers is damaged; fit it again')
        self.matrix = matrix
        self.bias = bias
        self.normalize = bool(normalize)

    @property
    def input_dimension(self) -> int:
        """Width of the embeddings that the map takes."""
        return self.matrix.shape[1]

    @property
    def output_dimension(self) -> int:
        """Width of the embeddings that the map gives."""
        return self.matrix.shape[0]

    @classmethod
    def fit(cls, embeddings: np.ndarray, dimension: int, normalize: bool = True) -> Whitening:
        """Learn the map that gives embeddings mean 0 and variance 1 in each dimension.

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

    def apply(self, embeddings: np.ndarray) -> np.ndarray:
        """Whitened embeddings, float32 (n, output dimension), not of length 1; RetrievalError if they do not fit."""
        array = check_embeddings(embeddings, dimension=self.input_dimension)
        return (unit_length(array) if self.normalize else array) @ self.matrix.T + self.bias

    def to_bytes(self) -> bytes:
        """The map as bytes, in NumPy's ``.npz`` format."""
        buffer = io.BytesIO()
        np.savez(buffer, matrix=self.matrix, bias=self.bias, normalize=np.array(self.normalize))
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Whitening:
        """The map from the bytes of :meth:`to_bytes`; RetrievalError if they are damaged. No code in them is run."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                matrix, bias, normalize = (arrays[name] for name in _FIELDS)
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise RetrievalError(f'a whitening is damaged ({error}); build the gallery again') from error
        return cls(matrix, bias, bool(normalize))
