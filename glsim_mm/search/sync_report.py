"""What a run that lets a gallery follow its folder has done, or would do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from retrieval.answers import one_line

from ..images.photo_folders import LeftOut
from ..output_files import write_json
from .encoded import listed_lines
from .exif_columns import ExifReport
from .sync_plan import Contradiction


@dataclass(frozen=True)
class SyncedPhoto:
    """A photo, or the row of one, in a :class:`SyncReport`.

    Attributes:
        path: As the gallery has it, after the run.
        id: Id of its row; -1 for a photo that had none.
        label: Its class after the run.
        old_path: Where a photo that moved was before.
        old_label: Class before the run, if another one.
        reason: Why it was left out or kept.
    """

    path: str
    id: int = -1
    label: str | None = None
    old_path: str = ''
    old_label: str | None = None
    reason: str = ''

    def describe(self) -> str:
        """All of it on one line."""
        place = f'{self.old_path} -> {self.path}' if self.old_path else self.path
        label = f' ({self.old_label} -> {self.label})' if self.old_label != self.label and self.id >= 0 else ''
        return one_line(f'{place}{label}{": " if self.reason else ""}{self.reason}')


@dataclass
class SyncReport:
    """What a run has done, or would do.

    ::

        report = search.sync('photos', dry_run=True)
        print(len(report.moved), [photo.path for photo in report.removed])

    Attributes:
        location: Folder or address of the gallery.
        sources: The folders, lists and tables.
        dry_run: Whether nothing was changed.
        photos: Number of photos on disk.
        unchanged: Number of rows that are as they were.
        elsewhere: Number of rows of other folders, which were not looked at.
        moved: Rows that follow their photos to another place.
        described: Rows at their place with another label or other metadata, or whose photo is back.
        added: Photos that got a row; ``encoded`` says how many went through the model.
        changed: Rows whose photos have another content, which was encoded in place of the old one.
        removed: Rows taken out, because their photos are gone or replaced.
        flagged: Rows whose photos are gone, with the date in their column ``missing_since``.
        kept: Rows whose photos are gone, or seem to be, and why they were kept.
        copies: Photos left out, because another row of their class has their content.
        contradictions: Contents in several classes, with the paths of each.
        unreadable: Photos that cannot be read; their rows, if there are any, stay as they are.
        left_out: What was found beside photos, or excluded.
        exif: What the EXIF data of new and changed photos gave, if it was asked for.
        encoded: Number of photos that went through the model.
        seconds: What the run took.
    """

    location: str
    sources: list[str]
    dry_run: bool = False
    photos: int = 0
    unchanged: int = 0
    elsewhere: int = 0
    moved: list[SyncedPhoto] = field(default_factory=list)
    described: list[SyncedPhoto] = field(default_factory=list)
    added: list[SyncedPhoto] = field(default_factory=list)
    changed: list[SyncedPhoto] = field(default_factory=list)
    removed: list[SyncedPhoto] = field(default_factory=list)
    flagged: list[SyncedPhoto] = field(default_factory=list)
    kept: list[SyncedPhoto] = field(default_factory=list)
    copies: list[SyncedPhoto] = field(default_factory=list)
    contradictions: list[Contradiction] = field(default_factory=list)
    unreadable: list[SyncedPhoto] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)
    exif: ExifReport | None = None
    encoded: int = 0
    seconds: float = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether the gallery was already what its folders are."""
        lists = (self.moved, self.described, self.added, self.changed, self.removed, self.flagged)
        return not any(lists)

    def write(self, path: str | Path) -> None:
        """Write all of it as JSON, which tells of absolute paths their last parts alone.

        Raises:
            GLSimError: If the file cannot be written.
        """
        values = asdict(self)
        values['contradictions'] = [one._asdict() for one in self.contradictions]
        if ':///' in self.location or os.path.isabs(self.location):
            values['location'] = self.location.rstrip('/').rpartition('/')[2]
        write_json(path, values)


_KINDS = {
    'moved': 'moved',
    'described': 'labels and metadata',
    'added': 'added',
    'changed': 'changed',
    'removed': 'removed',
    'flagged': 'flagged as missing',
    'kept': 'kept, not in the folders any more',
    'copies': 'copies, left out',
    'contradictions': 'contradictions',
    'unreadable': 'unreadable, rows left as they are',
}
_ALWAYS_LISTED = ('contradictions', 'unreadable', 'kept')


def format_sync(report: SyncReport, details: bool = False, listed: int = 20) -> str:
    """A report as text: a line for each kind; ``details`` lists every photo.

    Without them, at most ``listed`` contradictions, unreadable photos and kept rows are named.
    """
    lines = [
        f'gallery: {report.location}',
        f'photos: {report.photos:,} in {one_line(", ".join(report.sources))}; {report.unchanged:,} rows as they were'
        + (f', {report.elsewhere:,} of other folders' if report.elsewhere else ''),
    ]
    for name, title in _KINDS.items():
        entries = getattr(report, name)
        if entries:
            lines.append(f'{title}: {len(entries):,}{_note(report, name)}')
            if details or name in _ALWAYS_LISTED:
                lines += listed_lines(_texts(entries), len(entries) if details else listed)
    if report.exif is not None:
        lines.append(f'EXIF: {one_line(report.exif.summary())}')
    if report.left_out:
        lines.append(f'left out: {one_line(report.left_out.summary())}')
    if report.dry_run:
        lines.append('nothing was changed: this was a dry run')
    elif report.is_idle:
        lines.append('nothing to do')
    return '\n'.join(lines)


def _note(report: SyncReport, name: str) -> str:
    if name == 'moved':
        count = sum(one.label != one.old_label for one in report.moved)
        return f', {count:,} of them to another class' if count else ''
    if name == 'added' and not report.dry_run:
        return f', {report.encoded - len(report.changed):,} of them encoded'
    photos = 'photo' if len(report.contradictions) == 1 else 'photos'
    notes = {'changed': ', encoded anew', 'contradictions': f' {photos} in several classes', 'kept': ' (see --missing)'}
    return notes.get(name, '')


def _texts(entries: Sequence[SyncedPhoto] | Sequence[Contradiction]) -> list[str]:
    return [_contradiction(one) if isinstance(one, Contradiction) else one.describe() for one in entries]


def _contradiction(one: Contradiction) -> str:
    return one_line(
        '; '.join(f'{label}: {", ".join(paths) or "in another folder"}' for label, paths in one.labels.items())
    )
