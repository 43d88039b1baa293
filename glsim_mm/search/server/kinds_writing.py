"""Jobs that change which rows a gallery has: adding photos that were sent, removing rows, following folders."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from retrieval.errors import RetrievalError
from retrieval.gallery import GalleryWriter, Roots
from retrieval.relabelling import count_rows

from ...errors import GLSimError
from ...images.photos import ImageItem, UnreadableImageError, hash_content, read_content
from ..adding import RowWriter
from ..items import ADDED, check_items
from ..sync_report import SyncReport
from ..sync_sources import GalleryFacts, KnownHashes, list_sources
from ..syncing import Sync
from .galleries import ServedGallery
from .jobs import JobKind, Outcome, Work
from .problems import Problem
from .schemas_writing import MAX_ROWS, Body, ChosenRows, Label, Metadata
from .uploads import read_upload
from .writing import chosen_rows

PHOTOS, NAMES, _PLANNED = 'photos', 'names.json', 'planned.json'
_SECONDS_BETWEEN_COMMITS = 5.0
_BATCH = {'cuda': 32}  # else so few that those who search do not wait for long
_SMALL_BATCH = 4
_LISTED = 200


class AddPhotos(Body):
    """What is known of photos that are added."""

    label: Label | None = Field(None, description='of all of them; null for unknown')
    split: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    metadata: Metadata = {}


class RemoveRows(ChosenRows):
    """Rows to take out; their photos stay where they are."""


class SyncPhotos(Body):
    """How a gallery is made what its folders are."""

    missing: Literal['remove', 'flag', 'keep'] | None = Field(
        None, description='what to do with rows whose photos are gone; by default, only certain losses are removed'
    )
    dry_run: bool = Field(False, description='change nothing, and tell what would change')


def put_photos(folder: Path, photos: list[tuple[str, Any]]) -> None:
    """Keep photos of a request in the folder of a job, with their names, until the job has looked at them.

    Args:
        folder: Of the job.
        photos: Names, which are only told, and open files.
    """
    place = folder / PHOTOS
    place.mkdir()
    for number, (_, opened) in enumerate(photos):
        with _kept_file(place), open(place / str(number), 'xb') as written:
            opened.seek(0)
            shutil.copyfileobj(opened, written)
    (folder / NAMES).write_text(json.dumps([_shown_name(name) for name, _ in photos]), encoding='utf-8')


def _begin_adding(served: ServedGallery, asked: AddPhotos) -> AddPhotos:
    served.check_writable()
    _folder_for(served.roots())
    check_items([ImageItem(label=asked.label, split=asked.split, metadata=asked.metadata)], served.newest())
    return asked


def _add(work: Work) -> Outcome:
    """Look at the photos as at those that are searched with, store those that are new, and encode them."""
    names = json.loads((work.folder / NAMES).read_text(encoding='utf-8'))
    plan = work.folder / _PLANNED  # content hashes, of a run that was interrupted
    planned = set(json.loads(plan.read_text(encoding='utf-8'))) if plan.exists() else set()
    served, asked = work.served, work.asked
    roots = served.roots()
    folder = Path(_folder_for(roots), ADDED, work.created[:10])
    items: dict[str, ImageItem] = {}  # by content hash
    numbers: list[int] = []
    duplicates: list[dict[str, Any]] = []
    hashes: dict[str, None] = {}
    for number, name in enumerate(names):
        work.report(number, len(names), 'Looking at the photos.')
        content = (work.folder / PHOTOS / str(number)).read_bytes()
        try:
            upload = read_upload(content, work.settings, served.encoder.pipeline.background)
        except UnreadableImageError as error:
            work.refuse(name, str(error))
            continue
        file = folder / f'{upload.content_hash}{upload.suffix}'
        known = served.newest(now=True).find_hashes([upload.content_hash]).get(upload.content_hash)
        if known is not None and upload.content_hash in planned and upload.content_hash not in hashes:
            hashes[upload.content_hash] = None
        elif known is not None or upload.content_hash in hashes:
            duplicates.append(dict(name=name, id=known))
        else:
            hashes[upload.content_hash] = None
            _store(file, content)
            items[upload.content_hash] = ImageItem(
                str(file), roots.path(str(file)), asked.label, asked.split, dict(asked.metadata)
            )
            numbers.append(number)
    plan.write_text(json.dumps(list(hashes)), encoding='utf-8')
    writer = RowWriter(lambda: _growing(work), {}, by='add')
    failed = writer.encode(
        work.encoder(),
        list(items.values()),
        range(len(items)),
        work.tell,
        _SECONDS_BETWEEN_COMMITS,
        batch_size=_batch_of(served),
        num_workers=1,
    )
    for position, _, reason in failed:
        work.refuse(names[numbers[position]], reason)
        Path(list(items.values())[position].file).unlink(missing_ok=True)
    shutil.rmtree(work.folder / PHOTOS, ignore_errors=True)
    found = served.newest(now=True).find_hashes(list(hashes))
    ids = sorted(found.values())
    said = [f'{len(ids):,} {"photo was" if len(ids) == 1 else "photos were"} added']
    if duplicates:
        said.append(f'{len(duplicates):,} {"was" if len(duplicates) == 1 else "were"} there already')
    refused = len(names) - len(ids) - len(duplicates)
    if refused:
        said.append(f'{refused:,} cannot be used')
    return Outcome(f'{", ".join(said)}.', dict(added=len(ids), ids=ids, duplicates=duplicates))


def _begin_removing(served: ServedGallery, asked: RemoveRows) -> RemoveRows:
    """Ids in place of a filter, so that what is removed is what passes it now."""
    served.check_writable()
    ids = chosen_rows(served.newest(now=True), asked.ids, asked.where).tolist()
    if len(ids) > MAX_ROWS:
        raise Problem(422, 'too-many', f'{count_rows(len(ids))} pass the filter: remove {MAX_ROWS:,} at a time')
    return RemoveRows(gallery=asked.gallery, ids=ids)


def _remove(work: Work) -> Outcome:
    wanted = np.array(work.asked.ids, np.int64)
    work.report(0, len(wanted), 'Removing rows.')
    with work.writing() as writer:
        there = wanted[np.isin(wanted, writer.ids())]
        done = writer.remove(there, by=work.by)
    gone = len(wanted) - done.rows
    said = f'{count_rows(done.rows)} removed'
    found = dict(removed=done.rows, gone=gone, change=done.number or None)
    return Outcome(f'{said}; {gone:,} had gone before.' if gone else f'{said}.', found)


def _begin_syncing(served: ServedGallery, asked: SyncPhotos) -> SyncPhotos:
    if not asked.dry_run:
        served.check_writable()
    if served.moves:
        raise Problem(
            409,
            'photos-moved',
            'this server was told by --photo-root where the photos are: tell the gallery, with '
            'glsim sync --root, and start it again',
        )
    return asked


def _sync(work: Work) -> Outcome:
    """Read the folders, and write what has changed; others write while photos are read and encoded."""
    served, asked = work.served, work.asked
    size = _batch_of(served)
    sync = Sync(asked.missing, 'keep', False, size, 1, work.tell, _SECONDS_BETWEEN_COMMITS)
    state = served.newest(now=True)
    known = KnownHashes()
    work.report(0, 0, 'Looking for photos.')
    listing = list_sources(GalleryFacts.of(state), None, None)
    sync.read_ahead(listing, known)
    report = sync(served.newest(now=True), work.encoder(), listing, asked.dry_run, known, lend=work.writing)
    for one in report.unreadable:
        work.refuse(one.path, one.reason)
    return Outcome(_say_sync(report), _show_sync(report, served.name))


ADD = JobKind('add', AddPhotos, _add, _begin_adding)
REMOVE = JobKind('remove', RemoveRows, _remove, _begin_removing, needs_asking=True)
SYNC = JobKind('sync', SyncPhotos, _sync, _begin_syncing)


def _folder_for(roots: Roots) -> str:
    """The root below which photos are stored: the default one, or the first that is there."""
    for folder in (roots.default, *roots.folders.values()):
        if folder and os.path.isdir(folder) and os.access(folder, os.W_OK):
            return folder
    raise RetrievalError(
        "no folder of the gallery's photos is there and may be written to: say where they are, with --photo-root"
    )


def _store(file: Path, content: bytes) -> None:
    """Write a photo as a whole or not at all; one that is there stays.

    Raises:
        GLSimError: If it cannot be written, or something else lies there.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GLSimError(f'photos cannot be stored ({error.strerror})') from error
    if os.path.lexists(file):
        with suppress(UnreadableImageError):
            if hash_content(read_content(str(file))) == file.stem:
                return
        raise GLSimError(f'{file.name} is there, and is something else: look at the folder {ADDED}')
    with _kept_file(file.parent):
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix='.', suffix='.part', delete=False) as written:
            written.write(content)
            written.flush()
            os.fsync(written.fileno())
        os.chmod(written.name, 0o666 & ~_umask())
        os.replace(written.name, file)


@contextmanager
def _kept_file(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise GLSimError(f'photos cannot be stored ({error.strerror})') from error


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@contextmanager
def _growing(work: Work) -> Iterator[GalleryWriter]:
    """The gallery, to add rows to it and nothing else, which harms nobody who changes others."""
    with work.writing() as writer:
        before = writer.manifest.generation
        yield writer
        work.served.note_growth(before, writer.manifest.generation)


def _batch_of(served: ServedGallery) -> int:
    kind = getattr(getattr(served.encoder, 'device', None), 'type', 'cpu')
    return _BATCH.get(kind, _SMALL_BATCH)


def _shown_name(name: str) -> str:
    """The last part of a file's name, as it is told to people."""
    last = name.replace('\\', '/').rpartition('/')[2]
    return ''.join(one if one.isprintable() else '?' for one in last)[:255] or 'photo'


def _say_sync(report: SyncReport) -> str:
    if report.is_idle:
        return 'The gallery is as its folders are.'
    names = ('added', 'changed', 'moved', 'described', 'removed', 'flagged')
    words = dict(described='with new labels or metadata')
    counts = [(len(getattr(report, name)), words.get(name, name)) for name in names]
    said = ', '.join(f'{count:,} {word}' for count, word in counts if count)
    return f'{"Would be: " if report.dry_run else ""}{said}.'


def _show_sync(report: SyncReport, gallery: str) -> dict[str, Any]:
    """A report whose lists are of a bearable length, with the number of all in ``counts``."""
    values = asdict(report) | dict(location=gallery)
    values['contradictions'] = [one._asdict() for one in report.contradictions]
    counts = {name: len(value) for name, value in values.items() if isinstance(value, list)}
    shown = {name: value[:_LISTED] if name in counts else value for name, value in values.items()}
    return dict(shown, counts=counts)
