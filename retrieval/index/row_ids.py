"""Ids of rows: 64-bit numbers from 0 on that the caller chooses."""

from collections.abc import Sequence

import numpy as np

from ..errors import RetrievalError


def check_new_ids(ids: Sequence[int] | np.ndarray, count: int | None = None) -> np.ndarray:
    """Ids as an array.

    Args:
        ids: Whole numbers.
        count: How many there must be. Defaults to any.

    Returns:
        int64, (n,).

    Raises:
        RetrievalError: If they are no whole numbers from 0 on, or one comes twice.
    """
    array = np.asarray(ids)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in 'iu' or array.ndim != 1:
        raise RetrievalError(f'ids must be a list of whole numbers, got {array.dtype} of shape {array.shape}')
    if count is not None and len(array) != count:
        raise RetrievalError(f'{len(array)} ids were given for {count} embeddings')
    if len(array) and (array.min() < 0 or array.max() > np.iinfo(np.int64).max):
        raise RetrievalError(f'ids must be from 0 to 2**63 - 1, got {array.min()} to {array.max()}')
    values, counts = np.unique(array, return_counts=True)
    if len(values) < len(array):
        raise RetrievalError(f'id {values[counts > 1][0]} comes twice')
    return array.astype(np.int64)
