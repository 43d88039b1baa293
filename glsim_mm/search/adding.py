"""Adding photos to an existing gallery."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from retrieval.errors import RetrievalError
from retrieval.gallery import GalleryReader, GalleryWriter, Record

from ..images.photos import ImageItem
from ..progress import ProgressBar
from .base_encoder import BaseEncoder, check_encoder
from .encoded import Encoded, EncodingError, EncodingReport, sorted_errors
from .exported_encoder import ExportedEncoder
from .items import check_items, find_source, hash_items
from .shards import SECONDS_BETWEEN_COMMITS, CommitBuffer

_AT_ONCE = 500


class _Plan(NamedTuple):
    """What is to be done with the images."""

    new: list[int]  # positions of images to add
    changed: dict[int, int]  # position -> id of the row whose file has another content now
    present: int  # how many are there already
    errors: list[EncodingError]


def add_images(
    gallery: GalleryWriter,
    encoder: BaseEncoder,
    images: Any,
    *,
    dataset: str | None = None,
    batch_size: int = 32,
    num_workers: int = 2,
    compact: bool = False,
    progress: bool = True,
    seconds_between_commits: float = SECONDS_BETWEEN_COMMITS,
) -> EncodingReport:
    """Encode images into an existing gallery.

    - A file whose path is in the gallery and whose content has changed takes the place of its row, which keeps its id.
    - A file whose content is in the gallery, at this path or another, is left out.
    - All others are added.

    What is encoded is committed every 30 seconds, so that a run that was stopped goes on when it is called again. Paths
    are relative to the folder to which those in the gallery are.

    Args:
        gallery: Opened writable.
        encoder: The model that made it, with its spaces, and patches if it has them.
        images: What :func:`build_gallery` takes, except data loaders; None with ``dataset``.
        dataset: Add the data set ``'train'``, ``'val'`` or ``'test'`` of the encoder's config.
        batch_size: Images per pass.
        num_workers: Workers that read photos.
        compact: Train the index again with all images.
        progress: Show images per second and the time left on standard error.
        seconds_between_commits: How much work a kill may cost.

    Raises:
        UserError: If the gallery was made by another model, or there are no images.
    """
    check_encoder(gallery, encoder)
    root = gallery.manifest.origin.get('root') or None
    if dataset is not None and encoder.config is None:
        raise RetrievalError('an exported model has no config with data sets: give images')
    items = find_source(images, dataset, encoder.config, root).items
    check_items(items, gallery)
    plan = _plan(gallery, items, num_workers, progress)
    start = time.monotonic()
    writer = _Writer(gallery, plan.changed)
    buffer = CommitBuffer(writer.write, seconds_between_commits)
    errors = list(plan.errors)
    try:
        positions = sorted([*plan.new, *plan.changed])
        with ProgressBar(len(positions), 'encoding', progress) as bar:
            for encoded in encoder.stream(items, batch_size, num_workers, positions):
                buffer.add(encoded)
                errors += encoded.errors
                bar.advance(len(encoded) + len(encoded.errors))
    finally:
        buffer.commit()  # Ctrl-C included
    seconds = time.monotonic() - start
    if compact:
        gallery.compact()
    report = EncodingReport(
        gallery.location,
        encoded=writer.added + writer.updated,
        reused=plan.present,
        updated=writer.updated,
        unreadable=sorted_errors(errors),
        seconds=seconds,
    )
    report.take_gallery(gallery)
    return report


def encoder_for(
    gallery: GalleryReader, config: Any = None, checkpoint: str | Path | None = None, **options: Any
) -> BaseEncoder:
    """The encoder with which a gallery can be searched, and images be added to it.

    Args:
        gallery: Made by the same model.
        config: Config of the model. Defaults to the one that the gallery was built with.
        checkpoint: Its weights. Defaults to those that the gallery was built with. An ``.onnx`` file of
            ``tools/export.py`` needs no config, and neither mmpretrain nor torch.
        **options: ``device`` of the encoder; also ``amp`` and ``max_pixels`` of :class:`Encoder`.

    Returns:
        With the gallery's spaces, and patches if it has them.

    Raises:
        UserError: If the model is another one, or the gallery does not say which.
    """
    config, checkpoint = model_of(gallery, config, checkpoint)
    spaces = tuple(gallery.manifest.spaces)
    encoder: BaseEncoder
    if config is None:
        if options.pop('amp', False):
            raise RetrievalError('an exported model computes in the precision that it was exported with: leave amp out')
        encoder = ExportedEncoder(checkpoint, spaces, **options)
    else:
        from .encoder import Encoder  # needs torch and mmpretrain, which exported models do without

        keep_patches = int(gallery.manifest.origin.get('patches') or 0) > 0
        encoder = Encoder(config, checkpoint, spaces=spaces, keep_patches=keep_patches, **options)
    check_encoder(gallery, encoder)
    return encoder


def model_of(
    gallery: GalleryReader, config: Any = None, checkpoint: str | Path | None = None
) -> tuple[Any, str | Path]:
    """Config and weights: those given, else those of the build; an exported file has no config.

    Raises:
        RetrievalError: If neither the call nor the gallery names them.
    """
    origin = gallery.manifest.origin
    config, checkpoint = config or origin.get('config'), checkpoint or origin.get('checkpoint')
    if checkpoint and str(checkpoint).endswith('.onnx'):
        return None, checkpoint
    if not (config and checkpoint):
        raise RetrievalError(f'{gallery.location} does not say which model made it: give config and checkpoint')
    return config, checkpoint


def _plan(gallery: GalleryReader, items: Sequence[ImageItem], num_workers: int, progress: bool) -> _Plan:
    with ProgressBar(len(items), 'looking for images that are there', progress) as bar:
        hashes, errors = hash_items(items, range(len(items)), num_workers, bar)
    known = set(gallery.find_hashes(list(hashes.values())))
    rows = _find_paths(gallery, [items[position].path for position in hashes])
    new, changed, present = [], {}, 0
    for position, content_hash in hashes.items():
        number, old_hash = rows.get(items[position].path, (-1, None))
        if number >= 0 and old_hash != content_hash:
            changed[position] = number
        elif number >= 0 or content_hash in known:
            present += 1
        else:
            new.append(position)
            known.add(content_hash)  # a copy of it among the images is left out too
    return _Plan(new, changed, present, errors)


def _find_paths(gallery: GalleryReader, paths: Sequence[str]) -> dict[str, tuple[int, str | None]]:
    """Id and content hash of the rows of some paths."""
    found = {}
    for start in range(0, len(paths), _AT_ONCE):
        ids = gallery.ids([('path', 'in', list(paths[start : start + _AT_ONCE]))])
        if len(ids):
            found.update({record.path: (record.id, record.content_hash) for record in gallery.records(ids)})
    return found


class _Writer:
    """Adds new images and replaces changed ones."""

    def __init__(self, gallery: GalleryWriter, changed: Mapping[int, int]) -> None:
        self._gallery = gallery
        self._changed = changed
        self.added = self.updated = 0

    def write(self, encoded: Encoded) -> None:
        """Write images; the encoder may give more spaces than the gallery has."""
        encoded.embeddings = {space: encoded.embeddings[space] for space in self._gallery.manifest.spaces}
        is_new = np.array([position not in self._changed for position in encoded.positions.tolist()], bool)
        new, changed = encoded.rows(np.flatnonzero(is_new)), encoded.rows(np.flatnonzero(~is_new))
        if len(new):
            self._gallery.add(new.embeddings, new.records, patches=new.patches)
            self.added += len(new)
        if len(changed):
            ids = np.array([self._changed[position] for position in changed.positions.tolist()], np.int64)
            records = [_keep_facts(*pair) for pair in zip(changed.records, self._gallery.records(ids))]
            self._gallery.update(ids, changed.embeddings, records, patches=changed.patches)
            self.updated += len(changed)


def _keep_facts(record: Record, old: Record) -> Record:
    """A row's new record, with what the old one knows and the new one does not say."""
    return replace(
        record,
        id=old.id,
        label=record.label if record.label is not None else old.label,
        split=record.split if record.split is not None else old.split,
        metadata={**old.metadata, **record.metadata},
    )
