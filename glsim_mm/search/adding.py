"""Adding photos to an existing gallery."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from retrieval.errors import RetrievalError
from retrieval.gallery import GalleryReader, GalleryWriter, Record, Roots, store_roots
from retrieval.gallery.spaces import Spaces
from retrieval.records import plain_value

from ..exported.remote_model import RemoteModel
from ..images.photo_folders import LeftOut
from ..images.photos import ImageItem
from ..progress import ProgressBar, Show
from .base_encoder import BaseEncoder, check_encoder
from .encoded import Encoded, EncodingError, EncodingReport, sorted_errors
from .exif_columns import ExifReport, check_exif_columns, fill_exif
from .exported_encoder import ExportedEncoder
from .items import check_items, find_source, has_folder_label, hash_items, path_below
from .pretrained_settings import FrozenSettings
from .shards import SECONDS_BETWEEN_COMMITS, CommitBuffer

Lender: TypeAlias = Callable[[], AbstractContextManager[GalleryWriter]]
"""Gives a gallery for as long as something is written to it, so that others can write in between."""

_AT_ONCE = 500


class _Plan(NamedTuple):
    """What is to be done with the images."""

    new: list[int]  # positions of images to add
    changed: dict[int, int]  # position -> id of the row whose file has another content now
    present: int  # how many are there already
    followed: list[int]  # positions of images whose rows are there
    described: dict[int, dict[str, Any]]  # id of the row of an image -> what is said of it and not known
    left_alone: list[str]  # paths of which something is said, but whose content is in the gallery at another path
    errors: list[EncodingError]
    exif: ExifReport | None


def add_images(
    gallery: GalleryWriter,
    encoder: BaseEncoder,
    images: Any,
    *,
    dataset: str | None = None,
    roots: Mapping[str, str | Path] | None = None,
    exclude: Sequence[str] = (),
    exif: bool = False,
    batch_size: int = 32,
    num_workers: int = 2,
    compact: bool = False,
    progress: Show = True,
    seconds_between_commits: float = SECONDS_BETWEEN_COMMITS,
) -> EncodingReport:
    """Encode images into an existing gallery.

    - A file whose path is in the gallery and whose content has changed takes the place of its row, which keeps its id.
    - A file that is in the gallery is left out. What a list, a table or the caller says of its label, split and
      metadata replaces what its row says; the name of its folder does not.
    - A file whose content is in the gallery at another path is left out, and reported if something is said of it.
    - All others are added.

    What is encoded is committed every 30 seconds, so that a run that was stopped goes on when it is called again.
    Photos that lie below none of the gallery's roots (:class:`retrieval.gallery.Roots`) bring new ones with them, named
    after their folders.

    Args:
        gallery: Opened writable.
        encoder: The model that made it, with its spaces, and patches if it has them.
        images: What :func:`build_gallery` takes, except data loaders; None with ``dataset``.
        dataset: Add the data set ``'train'``, ``'val'`` or ``'test'`` of the encoder's config.
        roots: Folders by the names that they shall have as roots.
        exclude: Patterns of files and folders to leave out, see :func:`glsim_mm.search.find_items`.
        exif: Fill ``taken``, ``camera``, ``latitude`` and ``longitude`` from the photos. What a table says stays, and
            so does what the row of a photo that is there holds.
        batch_size: Images per pass.
        num_workers: Workers that read photos.
        compact: Train the index again with all images.
        progress: Show images per second and the time left on standard error.
        seconds_between_commits: How much work a kill may cost.

    Raises:
        UserError: If the gallery was made by another model, there are no images, or a root cannot be named so.
    """
    check_encoder(gallery, encoder)
    places = Roots.of(gallery.manifest.origin)
    for name, folder in (roots or {}).items():
        places = places.named(name, folder)
    if dataset is not None and encoder.config is None:
        raise RetrievalError('an exported model has no config with data sets: give images')
    left_out = LeftOut()
    items, places, *_ = find_source(images, dataset, encoder.config, places, exclude, left_out, gallery.columns())
    used = {places.split(item.path)[0] for item in items}
    for name, folder in (roots or {}).items():
        if name not in used:
            raise RetrievalError(f'none of the images lies in {folder}, the root {name}: leave it out, or correct it')
    check_items(items, gallery)
    if exif:
        check_exif_columns(gallery.columns())
    plan = _plan(gallery, items, num_workers, progress, exif)
    written = [items[position].path for position in (*plan.new, *plan.changed, *plan.followed)]
    store_roots(gallery, places.used(written, Roots.of(gallery.manifest.origin)))
    if plan.described:
        gallery.set_values(list(plan.described), list(plan.described.values()), by='add')
    start = time.monotonic()
    writer = RowWriter(lambda: nullcontext(gallery), plan.changed, by='add')
    positions = sorted([*plan.new, *plan.changed])
    load = dict(batch_size=batch_size, num_workers=num_workers)
    errors = writer.encode(encoder, items, positions, progress, seconds_between_commits, **load)
    seconds = time.monotonic() - start
    if compact:
        gallery.compact()
    report = EncodingReport(
        gallery.location,
        encoded=writer.added + writer.updated,
        reused=plan.present,
        updated=writer.updated,
        described=len(plan.described),
        left_alone=plan.left_alone,
        unreadable=sorted_errors([*plan.errors, *errors]),
        left_out=left_out,
        exif=plan.exif,
        seconds=seconds,
    )
    report.take_gallery(gallery)
    return report


def encoder_for(
    gallery: GalleryReader,
    config: Any = None,
    checkpoint: str | Path | None = None,
    *,
    encoder_url: str | None = None,
    encoder_token: str | None = None,
    shares_cores: bool = False,
    **options: Any,
) -> BaseEncoder:
    """The encoder with which a gallery can be searched, and images be added to it.

    Args:
        gallery: Made by the same model.
        config: Config of the model. Defaults to the one that the gallery was built with.
        checkpoint: Its weights. Defaults to those that the gallery was built with. An ``.onnx`` file of
            ``glsim export`` needs no config, and neither mmpretrain nor torch.
        encoder_url: Where another server runs the model, see :class:`glsim_mm.exported.RemoteModel`. Then
            ``checkpoint`` is only needed where that server does not describe it: the ``.onnx`` file that it runs.
        encoder_token: What that server wants to see.
        shares_cores: Of an exported model, see :class:`glsim_mm.exported.ExportedModel`.
        **options: ``device`` of the encoder; also ``amp`` and ``max_pixels`` of :class:`Encoder`.

    Returns:
        With the gallery's spaces, and patches if it has them.

    Raises:
        UserError: If the model is another one, or the gallery does not say which.
    """
    spaces = tuple(Spaces.of(gallery).given)
    encoder: BaseEncoder
    options['keep_patches'] = int(gallery.manifest.origin.get('patches') or 0) > 0
    if encoder_url is not None:
        remote = RemoteModel(encoder_url, checkpoint, encoder_token)
        encoder = ExportedEncoder(remote, spaces, keep_patches=options['keep_patches'])
        check_encoder(gallery, encoder)
        return encoder
    model = model_of(gallery, config, checkpoint)
    if isinstance(model, FrozenSettings):
        from .pretrained_encoder import FrozenEncoder  # needs torch and mmpretrain, which exported models do without

        encoder = FrozenEncoder(model, spaces=spaces, **options)
    elif model[0] is None:
        if options.pop('amp', False):
            raise RetrievalError(
                'an exported model computes in the precision that it was exported with: leave --amp out'
            )
        encoder = ExportedEncoder(model[1], spaces, shares_cores=shares_cores, **options)
    else:
        from .encoder import Encoder

        encoder = Encoder(*model, spaces=spaces, **options)
    check_encoder(gallery, encoder)
    return encoder


def model_of(
    gallery: GalleryReader, config: Any = None, checkpoint: str | Path | None = None
) -> tuple[Any, str | Path] | FrozenSettings:
    """Config and weights: those given, else those of the build; an exported file has no config.

    A gallery that was built with a pretrained encoder gives its settings, unless the call names another model.

    Raises:
        UserError: If neither the call nor the gallery names them.
    """
    origin = gallery.manifest.origin
    if origin.get('encoder') and config is None and checkpoint is None:
        return FrozenSettings.from_json(origin['encoder'])
    config, checkpoint = config or origin.get('config'), checkpoint or origin.get('checkpoint')
    if checkpoint and str(checkpoint).endswith('.onnx'):
        return None, checkpoint
    if not (config and checkpoint):
        raise RetrievalError(f'{gallery.location} does not say which model made it: give --config and --checkpoint')
    return config, checkpoint


def _plan(gallery: GalleryReader, items: Sequence[ImageItem], num_workers: int, progress: Show, exif: bool) -> _Plan:
    with ProgressBar(len(items), 'looking for images that are there', progress) as bar:
        hashes, errors = hash_items(items, range(len(items)), num_workers, bar)
    known = set(gallery.find_hashes(list(hashes.values())))
    rows = _find_rows(gallery, [items[position] for position in hashes])
    found = None
    if exif:
        there = {position: rows[items[position].path] for position in hashes if items[position].path in rows}
        same = {position: row for position, row in there.items() if row.content_hash == hashes[position]}
        read = [position for position, value in hashes.items() if position in there or value not in known]
        found = fill_exif(items, read, num_workers, progress, same)
    columns = {name.lower(): name for name in gallery.columns()}
    new, changed, described, left_alone, followed, copies = [], {}, {}, [], [], 0
    for position, content_hash in hashes.items():
        item, record = items[position], rows.get(items[position].path)
        if record is not None and record.content_hash != content_hash:
            changed[position] = record.id
        elif record is not None:
            followed.append(position)
            values = values_said(item, has_label=record.label is not None)
            if record.path != item.path:
                values['path'] = item.path
            if differs(record, values, columns):
                described[record.id] = values
        elif content_hash in known:
            copies += 1
            if values_said(item, has_label=True):
                left_alone.append(item.path)
        else:
            new.append(position)
            known.add(content_hash)  # a copy of it among the images is left out too
    present = len(followed) + copies
    return _Plan(new, changed, present, followed, described, left_alone, errors, found)


def _find_rows(gallery: GalleryReader, items: Sequence[ImageItem]) -> dict[str, Record]:
    """Rows of images by the paths of these, without their similarity maps.

    Galleries had one root once, and the rows of all other photos have absolute paths.
    """
    paths = {path_below(Roots({}), item.file): item.path for item in items if item.file}
    paths |= {item.path: item.path for item in items}
    wanted, found = list(paths), {}
    for start in range(0, len(wanted), _AT_ONCE):
        ids = gallery.ids([('path', 'in', wanted[start : start + _AT_ONCE])])
        for record in sorted(gallery.records(ids) if len(ids) else (), key=lambda one: one.path in paths.values()):
            found[paths[record.path]] = replace(record, similarity_map=None)
    return found


def values_said(item: ImageItem, has_label: bool) -> dict[str, Any]:
    """What is said of an image: values of its label, split and metadata by column.

    The name of its folder is only said where a row has no label.
    """
    values = dict(item.metadata)
    if item.split is not None:
        values['split'] = item.split
    if item.label is not None and not (has_label and has_folder_label(item)):
        values['label'] = item.label
    return values


def differs(record: Record, values: Mapping[str, Any], columns: Mapping[str, str]) -> bool:
    """Whether a record has other values than those said of its image.

    ``columns`` has the gallery's names of columns by the same in small letters, because their case does not count.
    """
    for name, value in values.items():
        own = columns.get(name.lower(), name)
        known = getattr(record, own) if own in ('path', 'label', 'split') else record.metadata.get(own)
        if plain_value(value, name) != known:
            return True
    return False


class RowWriter:
    """Encodes new images into a gallery, and changed ones in place of their rows.

    Args:
        lend: Gives the gallery that they go to.
        changed: Ids of rows by the position of the image that takes their place.
        by: Whom the gallery's history names.
    """

    def __init__(self, lend: Lender, changed: Mapping[int, int], by: str) -> None:
        self._lend = lend
        self._by = by
        self._changed = changed
        self.added = self.updated = 0

    def encode(
        self,
        encoder: BaseEncoder,
        items: Sequence[ImageItem],
        positions: Sequence[int],
        progress: Show,
        seconds_between_commits: float,
        **load: int,
    ) -> list[EncodingError]:
        """Encode the images at some positions; ``load`` goes to the encoder. Returns those that cannot be encoded."""
        buffer = CommitBuffer(self.write, seconds_between_commits)
        errors: list[EncodingError] = []
        with ProgressBar(len(positions), 'encoding', progress) as bar:

            def note(encoded: Encoded) -> None:
                errors.extend(encoded.errors)
                bar.advance(len(encoded) + len(encoded.errors))

            buffer.take_all(encoder.stream(items, positions=positions, **load), note)
        return errors

    def write(self, encoded: Encoded) -> None:
        """Write images; the encoder may give more spaces than the gallery has.

        Changed images whose rows somebody has removed meanwhile are left out.
        """
        with self._lend() as gallery:
            encoded.embeddings = {space: encoded.embeddings[space] for space in Spaces.of(gallery).given}
            is_new = np.array([position not in self._changed for position in encoded.positions.tolist()], bool)
            new, changed = encoded.rows(np.flatnonzero(is_new)), encoded.rows(np.flatnonzero(~is_new))
            if len(new):
                gallery.add(new.embeddings, new.records, patches=new.patches)
                self.added += len(new)
            ids = np.array([self._changed[position] for position in changed.positions.tolist()], np.int64)
            there = np.flatnonzero(np.isin(ids, gallery.ids({'id': ids}) if len(ids) else ids))
            if len(there):
                changed, ids = changed.rows(there), ids[there]
                records = [_keep_facts(*pair) for pair in zip(changed.records, gallery.records(ids))]
                gallery.update(ids, changed.embeddings, records, patches=changed.patches, by=self._by)
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
