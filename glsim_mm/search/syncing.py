"""Letting a gallery follow its photos: the folder is compared with the rows, and a plan is carried out."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.errors import RetrievalError
from retrieval.gallery import GalleryReader, GalleryWriter, Roots, open_gallery, store_roots

from ..images.photos import ImageItem
from ..progress import ProgressBar, Show
from .adding import Lender, RowWriter, values_said
from .base_encoder import BaseEncoder, check_encoder
from .exif_columns import check_exif_columns, fill_exif
from .items import check_items
from .shards import SECONDS_BETWEEN_COMMITS
from .sync_plan import CONTRADICTIONS, FoundPhoto, GalleryRow, RowAtPhoto, SyncPlan, plan_sync
from .sync_report import SyncedPhoto, SyncReport
from .sync_sources import (
    FLAG,
    FoundPhotos,
    GalleryFacts,
    KnownHashes,
    Listing,
    check_choice,
    doubts,
    is_unreachable,
    list_sources,
    read_photos,
    read_rows,
)

MISSING = ('remove', 'flag', 'keep')
_AT_ONCE = 2000


def sync_images(
    gallery: GalleryReader,
    encoder: BaseEncoder | Callable[[], BaseEncoder],
    sources: Iterable[str | Path] | str | Path | None = None,
    *,
    exclude: Sequence[str] | None = None,
    missing: str | None = None,
    contradictions: str = 'keep',
    exif: bool = False,
    dry_run: bool = False,
    batch_size: int = 32,
    num_workers: int = 2,
    progress: Show = True,
    seconds_between_commits: float = SECONDS_BETWEEN_COMMITS,
) -> SyncReport:
    """Make a gallery what its folders are.

    - A photo whose content is known keeps its row wherever it lies now: path, label and metadata follow, and nothing
      is encoded. The label is that of the new class folder if the class has changed, and what a table says; a label
      that somebody gave to the row stays otherwise.
    - A photo with another content at a known path is encoded anew; its row keeps its id.
    - New photos are encoded. A copy whose content has a row of the same class is left out.
    - Rows whose photos are gone are removed, or what ``missing`` says. Rows in other folders stay as they are, unless
      their photos are gone from there and are found here.
    - Photos that cannot be read are reported, and keep their rows as they are.

    It can be stopped at any time; the gallery is consistent, and the next call goes on.

    Args:
        gallery: Opened writable, except for ``dry_run``.
        encoder: The model that made it, or what gives it; it is asked only if something must be encoded.
        sources: Folders, lists and tables; None for those that the gallery was built from.
        exclude: Patterns of files and folders to leave out, see :func:`glsim_mm.search.find_items`; None for those of
            the build, if it was made from these folders.
        missing: What to do with rows whose photos are gone: ``'remove'``, ``'flag'`` (the date goes into their column
            ``missing_since``, and out of it when the photo is back) or ``'keep'``. None removes them too, but keeps
            those of which it is not certain: photos that are there and not listed any more, or listed and not there,
            and more than 20 at once that are more than half of all, or whose folder is empty. Where a disk does not
            answer, rows always stay.
        contradictions: Of a content in several classes, ``'keep'`` a row for each, or ``'drop'`` all rows.
        exif: Fill ``taken``, ``camera``, ``latitude`` and ``longitude`` of photos that are new or have changed, unless
            a table has such columns.
        dry_run: Change nothing.
        batch_size: Images per pass.
        num_workers: Workers that read photos.
        progress: Show what is done on standard error.
        seconds_between_commits: How much encoding a kill may cost.

    Raises:
        UserError: If a folder is not there or holds no photo that can be read, if it is unknown of which folder the
            gallery was built, or if another model made the gallery. Nothing was changed then.
    """
    listing = list_sources(GalleryFacts.of(gallery), sources, exclude)
    run = Sync(missing, contradictions, exif, batch_size, num_workers, progress, seconds_between_commits)
    return run(gallery, encoder, listing, dry_run)


def sync_gallery(
    location: str | Path,
    encoder: BaseEncoder | Callable[[], BaseEncoder],
    sources: Iterable[str | Path] | str | Path | None = None,
    *,
    exclude: Sequence[str] | None = None,
    dry_run: bool = False,
    **options: Any,
) -> SyncReport:
    """Open a gallery and make it what its folders are, as :func:`sync_images` does.

    The photos are read before the gallery is opened for writing, so that others can write to it meanwhile. Those that
    have changed by then are read again.
    """
    start = time.monotonic()
    run = Sync(**options)
    known = KnownHashes()
    with open_gallery(location, writable=not dry_run) as gallery:  # whoever writes now is told of before the reading
        facts = GalleryFacts.of(gallery)
        run.check(gallery)
    listing = list_sources(facts, sources, exclude)
    run.read_ahead(listing, known)
    with open_gallery(location, writable=not dry_run) as gallery:
        report = run(gallery, encoder, listing, dry_run, known)
    report.seconds = time.monotonic() - start
    return report


class Sync:
    """A sync with its settings, for listings that were made before; :func:`sync_images` says what they mean."""

    def __init__(
        self,
        missing: str | None = None,
        contradictions: str = 'keep',
        exif: bool = False,
        batch_size: int = 32,
        num_workers: int = 2,
        progress: Show = True,
        seconds_between_commits: float = SECONDS_BETWEEN_COMMITS,
    ) -> None:
        if missing is not None:
            check_choice(MISSING, missing, 'missing')
        check_choice(CONTRADICTIONS, contradictions, 'contradictions')
        self.missing = missing
        self._contradictions = contradictions
        self._exif = exif
        self._load = dict(batch_size=batch_size, num_workers=num_workers)
        self._progress = progress
        self._seconds_between_commits = seconds_between_commits

    def check(self, gallery: GalleryReader) -> None:
        """RetrievalError if a gallery cannot be synced so."""
        if self.missing == 'flag' and gallery.columns().get(FLAG, 'TEXT') != 'TEXT':
            raise RetrievalError(f'the gallery has a column {FLAG} of its own: use --missing keep or remove')
        if self._exif:
            check_exif_columns(gallery.columns())

    def read_ahead(self, listing: Listing, known: KnownHashes, unsettled: Collection[str] = ()) -> None:
        """Read the photos, which takes long, before the gallery is opened for writing; ``known`` takes their hashes."""
        with ProgressBar(len(listing.items), 'looking for changes', self._progress) as bar:
            read_photos(listing, self._load['num_workers'], bar, known, unsettled)

    def __call__(
        self,
        gallery: GalleryReader,
        encoder: BaseEncoder | Callable[[], BaseEncoder],
        listing: Listing,
        dry_run: bool = False,
        known: KnownHashes | None = None,
        unsettled: Collection[str] = (),
        lend: Lender | None = None,
    ) -> SyncReport:
        """Sync a gallery with a listing.

        ``known`` has hashes of photos that were read ahead and need not be read again. Photos and rows at the paths
        ``unsettled`` are left for later, and as long as there are any, no row is removed. ``lend`` gives the gallery
        whenever something is written to it, and others may write while photos are encoded; by default, it is open for
        writing already.
        """
        start = time.monotonic()
        self.check(gallery)
        lend = lend or (lambda: nullcontext(gallery.as_writer()))
        with ProgressBar(len(listing.items), 'looking for changes', self._progress and known is None) as bar:
            found = read_photos(listing, self._load['num_workers'], bar, known, unsettled)
        with nullcontext(gallery) if dry_run else lend() as state:
            plan = plan_sync(read_rows(state, listing, found), found.photos, self._contradictions)
            report = _report(gallery, listing, found, plan)
            removed = self._sort_lost(listing, plan, report, bool(unsettled))
            report.dry_run = dry_run
            is_over = dry_run or report.is_idle
            if not is_over:
                model = self._begin(state.as_writer(), encoder, listing, found, plan, report)
        if not is_over:
            if model is not None:
                self._encode(lend, model, found.items, plan, report)
            with lend() as writer:
                _finish(writer, found, plan, report, removed)
        report.seconds = time.monotonic() - start
        return report

    def _sort_lost(self, listing: Listing, plan: SyncPlan, report: SyncReport, waits: bool) -> list[int]:
        """Decide what happens to rows without a photo; returns the ids of those to remove."""
        num_rows = len(plan.unchanged) + len(plan.moved) + len(plan.described) + len(plan.changed) + len(plan.lost)
        doubted = doubts(listing, plan.lost, num_rows)
        removed = [] if waits else [*plan.replaced, *plan.dropped]
        if removed:
            report.removed += [_of_row(row, 'another photo is at its place') for row in plan.replaced]
            report.removed += [_of_row(row, 'in several classes') for row in plan.dropped]
        for row in plan.lost:
            reason = doubted.get(row.id, '')
            if waits or is_unreachable(reason) or self.missing == 'keep' or (self.missing is None and reason):
                report.kept.append(_of_row(row, 'waits for other files' if waits else reason or 'its photo is gone'))
            elif self.missing != 'flag':
                removed.append(row)
                report.removed.append(_of_row(row, reason or 'its photo is gone'))
            elif row.is_flagged:
                report.kept.append(_of_row(row, 'flagged before'))
            else:
                report.flagged.append(_of_row(row, reason or 'its photo is gone'))
        return [row.id for row in removed]

    def _begin(
        self,
        gallery: GalleryWriter,
        encoder: BaseEncoder | Callable[[], BaseEncoder],
        listing: Listing,
        found: FoundPhotos,
        plan: SyncPlan,
        report: SyncReport,
    ) -> BaseEncoder | None:
        """Do what needs no encoding; returns the model if something must be encoded.

        Whatever was done, planning again gives the rest.
        """
        items = found.items
        if self._exif:
            new = sorted([*plan.added, *plan.shared, *(one.position for one in plan.changed)])
            report.exif = fill_exif(items, new, self._load['num_workers'], self._progress)
        followed = [*plan.moved, *plan.described]
        written = [one.position for one in (*followed, *plan.changed)] + plan.added + plan.shared
        check_items([items[position] for position in written], gallery)
        must_encode = bool(plan.changed or plan.added)
        model = encoder() if must_encode and not isinstance(encoder, BaseEncoder) else encoder
        if isinstance(model, BaseEncoder):
            check_encoder(gallery, model)
        known = Roots.of(gallery.manifest.origin)
        store_roots(gallery, listing.roots.used((items[position].path for position in written), known))
        _follow(gallery, items, followed)
        return model if must_encode and isinstance(model, BaseEncoder) else None

    def _encode(
        self, lend: Lender, encoder: BaseEncoder, items: Sequence[ImageItem], plan: SyncPlan, report: SyncReport
    ) -> None:
        wanted = list(items)
        for row, position, label in plan.changed:
            metadata = {**items[position].metadata, FLAG: None} if row.is_flagged else items[position].metadata
            # A label that stays is not written, because somebody may give the row another one meanwhile.
            new_label = None if label == row.label else label
            wanted[position] = replace(items[position], label=new_label, metadata=metadata)
        positions = sorted([one.position for one in plan.changed] + plan.added)
        writer = RowWriter(lend, {one.position: one.row.id for one in plan.changed}, by='sync')
        errors = writer.encode(encoder, wanted, positions, self._progress, self._seconds_between_commits, **self._load)
        report.encoded = writer.added + writer.updated
        failed = {error.path: error.reason for error in errors}
        report.unreadable += [SyncedPhoto(path, reason=reason) for path, reason in failed.items()]
        report.added = [one for one in report.added if one.path not in failed]
        report.changed = [one for one in report.changed if one.path not in failed]


def _finish(
    gallery: GalleryWriter, found: FoundPhotos, plan: SyncPlan, report: SyncReport, removed: Sequence[int]
) -> None:
    """Do what is planned once all is encoded. Rows that somebody has removed meanwhile are left out."""
    _share(gallery, found.items, found.photos, plan.shared, report)
    flagged = _still_there(gallery, [one.id for one in report.flagged])
    if flagged:
        now = datetime.now(timezone.utc).isoformat(timespec='seconds')
        gallery.set_values(flagged, {FLAG: now}, by='sync')
    gone = _still_there(gallery, removed)
    for start in range(0, len(gone), _AT_ONCE):
        gallery.remove(gone[start : start + _AT_ONCE], by='sync')


def _still_there(gallery: GalleryReader, ids: Sequence[int]) -> list[int]:
    if not ids:
        return []
    return np.array(ids, np.int64)[np.isin(ids, gallery.ids())].tolist()


def _follow(gallery: GalleryWriter, items: Sequence[ImageItem], rows: Sequence[RowAtPhoto]) -> None:
    """Write where photos are now, and what is said of them there, in one change of the gallery's history."""
    if not rows:
        return
    values = []
    for row, position, label in rows:
        said = values_said(items[position], has_label=True)
        if row.is_flagged:
            said[FLAG] = None
        values.append({**said, 'path': items[position].path, 'label': label})
    gallery.set_values([one.row.id for one in rows], values, by='sync')


def _share(
    gallery: GalleryWriter,
    items: Sequence[ImageItem],
    photos: Sequence[FoundPhoto],
    positions: Sequence[int],
    report: SyncReport,
) -> None:
    """Add rows whose content is in the gallery, with the embeddings that are there."""
    for start in range(0, len(positions), _AT_ONCE):
        part = positions[start : start + _AT_ONCE]
        known = gallery.find_hashes([str(photos[position].content_hash) for position in part])
        there = [position for position in part if photos[position].content_hash in known]
        lost = {items[position].path for position in part} - {items[position].path for position in there}
        report.unreadable += [SyncedPhoto(path, reason='its content could not be encoded') for path in sorted(lost)]
        report.added = [one for one in report.added if one.path not in lost]
        if not there:
            continue
        ids = np.array([known[str(photos[position].content_hash)] for position in there], np.int64)
        records = [
            replace(
                record,
                path=items[position].path,
                label=items[position].label,
                split=items[position].split,
                metadata=dict(items[position].metadata),
            )
            for record, position in zip(gallery.records(ids), there)
        ]
        vectors = {space: gallery.vectors(ids, space) for space in gallery.manifest.spaces}
        gallery.add(vectors, records, patches=gallery.patches(ids), transformed=True)


def _report(gallery: GalleryReader, listing: Listing, found: FoundPhotos, plan: SyncPlan) -> SyncReport:
    items = found.items
    held = {row.path for row in plan.lost}
    return SyncReport(
        gallery.location,
        listing.shown,
        photos=len(items),
        unchanged=len(plan.unchanged),
        elsewhere=plan.elsewhere,
        moved=[_at_photo(one, items) for one in plan.moved],
        described=[_at_photo(one, items) for one in plan.described],
        added=[SyncedPhoto(items[one].path, label=items[one].label) for one in sorted([*plan.added, *plan.shared])],
        changed=[_at_photo(one, items) for one in plan.changed],
        copies=[SyncedPhoto(items[one].path, label=items[one].label) for one in plan.copies],
        contradictions=plan.contradictions,
        unreadable=[
            *(SyncedPhoto(error.path, reason=error.reason) for error in found.errors),
            *(SyncedPhoto(path, reason='is not there') for path in found.absent if path not in held),
        ],
        left_out=listing.left_out,
    )


def _at_photo(one: RowAtPhoto, items: Sequence[ImageItem]) -> SyncedPhoto:
    path = items[one.position].path
    return SyncedPhoto(path, one.row.id, one.label, '' if one.row.path == path else one.row.path, one.row.label)


def _of_row(row: GalleryRow, reason: str) -> SyncedPhoto:
    return SyncedPhoto(row.path, row.id, row.label, old_label=row.label, reason=reason)
