"""A residual adapter of embeddings, trained on stored vectors in NumPy: zero at first, moved where neighbours err."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .vectors import check_embeddings, unit_length
from .whitening import Residual, check_classes

MARGIN, PRESERVE = 0.1, 1.0
STEPS = 300
_RATE, _BETAS, _EPSILON = 1e-3, (0.9, 0.999), 1e-8
_CLASSES_OF_BATCH, _ROWS_OF_CLASS = 32, 4


class Batch(NamedTuple):
    """Rows of length 1 (b, d) with the numbers of their classes (b,), each of which has several."""

    rows: np.ndarray
    codes: np.ndarray


def fit_adapter(
    embeddings: np.ndarray,
    labels: Sequence[str | None] | np.ndarray,
    *,
    hidden: int | None = None,
    steps: int = STEPS,
    margin: float = MARGIN,
    preserve: float = PRESERVE,
    seed: int = 0,
) -> Residual:
    """Train a multi-layer perceptron whose output is added to unit-length embeddings, by local triplets.

    The residual begins at zero, so that nothing has changed; a triplet of a photo, the nearest of its class and the
    nearest of another class in the batch has no gradient once it keeps the margin; and the result is put back on the
    sphere. So the adapter leaves alone what is right already: Euclidean Geodesic Alignment (arXiv 2605.05674). A
    preserving term pulls embeddings back to where they were, as classes that are not learned from have nothing else to
    hold them.

    Args:
        embeddings: Floating point, (n, d), no row zero.
        labels: Class of each, None for no label; those, and classes of one row, are left out.
        hidden: Width of the hidden layer; None for d.
        steps: Batches of 32 classes with 4 rows each, by Adam with a learning rate of 1e-3.
        margin: By how much the cosine similarity of the class must exceed that of another.
        preserve: Weight of the mean of 1 - cosine similarity of an embedding before and after.
        seed: Of weights and batches.

    Raises:
        RetrievalError: If fewer than two classes have two rows, or an embedding is not finite.
    """
    check_classes(labels)
    rows = unit_length(check_embeddings(embeddings))
    names, codes = np.unique([str(one) for one in labels], return_inverse=True)
    members = [
        np.flatnonzero([own == code and one is not None for own, one in zip(codes, labels)])
        for code in range(len(names))
    ]
    members = [one for one in members if len(one) > 1]
    random = np.random.default_rng(seed)
    width = rows.shape[1]
    hidden = hidden or width
    first = random.standard_normal((hidden, width), np.float32) * np.float32((2 / width) ** 0.5)
    shapes = ((hidden,), (width, hidden), (width,))
    residual = Residual(first, *(np.zeros(shape, np.float32) for shape in shapes))
    moments = [(np.zeros_like(one), np.zeros_like(one)) for one in residual]
    for step in range(1, steps + 1):
        batch = _draw(rows, members, random)
        _, gradients = adapter_loss(residual, batch, margin, preserve)
        for value, gradient, (mean, square) in zip(residual, gradients, moments):
            mean += (1 - _BETAS[0]) * (gradient - mean)
            square += (1 - _BETAS[1]) * (gradient * gradient - square)
            corrected = mean / (1 - _BETAS[0] ** step)
            value -= _RATE * corrected / (np.sqrt(square / (1 - _BETAS[1] ** step)) + _EPSILON)
    return residual


def adapter_loss(
    residual: Residual, batch: Batch, margin: float = MARGIN, preserve: float = PRESERVE
) -> tuple[float, list[np.ndarray]]:
    """The loss of a batch, and its gradients by the four arrays of the residual; see :func:`fit_adapter`."""
    rows, codes = batch
    hidden = np.maximum(rows @ residual.first.T + residual.first_bias, 0)
    moved = rows + hidden @ residual.second.T + residual.second_bias
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    found = moved / lengths
    similar = found @ found.T
    same = codes[:, None] == codes
    other = ~np.eye(len(rows), dtype=bool)
    numbers = np.arange(len(rows))
    closest = np.where(same & other, similar, -np.inf).argmax(axis=1)  # of the class
    intruder = np.where(same, -np.inf, similar).argmax(axis=1)
    hinge = margin + similar[numbers, intruder] - similar[numbers, closest]
    active = hinge > 0
    loss = hinge[active].sum() / len(rows) + preserve * (1 - np.einsum('ij,ij->i', rows, found)).mean()
    weights = np.zeros_like(similar)  # of the similarities
    weights[numbers, intruder] += active / len(rows)
    weights[numbers, closest] -= active / len(rows)
    by_found = (weights + weights.T) @ found - preserve / len(rows) * rows
    by_moved = (by_found - np.einsum('ij,ij->i', by_found, found)[:, None] * found) / lengths
    by_hidden = (by_moved @ residual.second) * (hidden > 0)
    gradients = [by_hidden.T @ rows, by_hidden.sum(axis=0), by_moved.T @ hidden, by_moved.sum(axis=0)]
    return float(loss), gradients


def _draw(rows: np.ndarray, members: Sequence[np.ndarray], random: np.random.Generator) -> Batch:
    """Some rows of some classes, each row once."""
    chosen = random.choice(len(members), min(_CLASSES_OF_BATCH, len(members)), replace=False)
    parts = [random.choice(members[one], min(_ROWS_OF_CLASS, len(members[one])), replace=False) for one in chosen]
    codes = np.repeat(chosen, [len(part) for part in parts])
    return Batch(rows[np.concatenate(parts)], codes)
