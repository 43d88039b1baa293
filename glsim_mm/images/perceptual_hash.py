"""Photos that look alike, found by 256 bits of each, without comparing each with all others."""

import cv2
import numpy as np

NEAR = 30
"""Bits of 256 in which hashes of near copies differ at most. Of 4 million pairs of bird photos (50 classes of
CUB-200-2011), 1 comes so close besides a photo that is there twice, and of 4 million of groceries 3; all are shots of
one scene. Saved again as JPEG of quality 40, at half the size or brighter by 15 %, photos differ in 20 bits at most."""

_SIDE = 32
_LOWEST = 16  # frequencies kept, in each direction
_BANDS = 16  # of 16 bits
_LEAST_CONTRAST = 2.0  # standard deviation of the grey values; below it, noise would decide
_PAIRS_AT_ONCE = 1 << 20
_BITS = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)
_COSINES = np.cos(np.pi * (2 * np.arange(_SIDE) + 1) * np.arange(_LOWEST)[:, None] / (2 * _SIDE)).astype(np.float32)


def perceptual_hash(pixels: np.ndarray) -> np.ndarray | None:
    """256 bits that stay nearly the same when a photo is scaled, brightened or saved with losses.

    They say which of the 16 x 16 lowest frequencies of the grey photo, scaled to 32 x 32, are above their median, as
    the library imagehash does (https://github.com/JohannesBuchner/imagehash, ``phash`` with ``hash_size=16``). Photos
    that are turned, mirrored or cut by more than about 2 % of a side have another hash.

    Args:
        pixels: (H, W, 3) uint8 BGR; at a half, quarter or eighth of the size it is nearly the same.

    Returns:
        (16,) uint16, or None for a photo without contrast.
    """
    grey = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    if grey.std() < _LEAST_CONTRAST:
        return None
    frequencies = (_COSINES @ grey.astype(np.float32) @ _COSINES.T).ravel()
    return np.packbits(frequencies > np.median(frequencies)).view(np.uint16)


def near_groups(hashes: np.ndarray) -> np.ndarray:
    """Number the groups of hashes that are linked by pairs of which at most :data:`NEAR` bits differ.

    Two hashes of 256 bits that differ in at most 31 agree, in one of 16 bands of 16 bits, in all bits but one. So each
    is compared only with those that do (multi-index hashing, Norouzi et al., https://arxiv.org/abs/1307.2982): 100,000
    photos take less than half a minute.

    Args:
        hashes: (n, 16) uint16 of :func:`perceptual_hash`.

    Returns:
        (n,) int64; equal numbers for the same group.
    """
    if not len(hashes):
        return np.zeros(0, np.int64)
    unique, inverse = np.unique(hashes, axis=0, return_inverse=True)
    groups = np.arange(len(unique))
    for band in range(_BANDS):
        keys = unique[:, band].astype(np.int64)
        order = np.argsort(keys, kind='stable')
        ends = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=1 << 16))])  # of the rows with a lower key
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        groups = _link(unique, groups, order, place + 1, ends[keys + 1], np.arange(len(keys)))
        for bit in range(16):
            rows = np.flatnonzero(keys >> bit & 1 == 0)  # each pair once
            others = keys[rows] | 1 << bit
            groups = _link(unique, groups, order, ends[others], ends[others + 1], rows)
    return groups[inverse.reshape(-1)]


def _link(
    hashes: np.ndarray, groups: np.ndarray, order: np.ndarray, starts: np.ndarray, ends: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Join the groups of rows with those of the near rows among ``order[start:end]``, which differ for each row."""
    counts = ends - starts
    total = np.cumsum(counts)
    first = 0
    while first < len(rows):
        done = total[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(total, done + _PAIRS_AT_ONCE, 'right')))
        some = counts[first:last]
        offsets = np.arange(some.sum()) - np.repeat(np.cumsum(some) - some, some)
        one, other = np.repeat(rows[first:last], some), order[np.repeat(starts[first:last], some) + offsets]
        apart = groups[one] != groups[other]
        one, other = one[apart], other[apart]
        near = _BITS[hashes[one] ^ hashes[other]].sum(axis=1) <= NEAR
        groups = _join(groups, one[near], other[near])
        first = last
    return groups


def _join(groups: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Groups after some rows have been joined, each named after its lowest row."""
    while len(one):
        low, high = np.minimum(groups[one], groups[other]), np.maximum(groups[one], groups[other])
        groups = groups.copy()
        np.minimum.at(groups, high, low)
        while (groups[groups] != groups).any():
            groups = groups[groups]
        apart = groups[one] != groups[other]
        one, other = one[apart], other[apart]
    return groups
