"""What an audit, and a guide to classes, have found, as pages with the photos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from retrieval.gallery import GalleryReader, Record, Roots
from retrieval.gallery.conditions import Condition
from retrieval.gallery.roots import Moves
from retrieval.gallery.spaces import Spaces
from retrieval.names import pretty_name
from retrieval.recognition import Audit, ClassEntry, Suspect
from retrieval.recognition.findings import (
    describe_conflict,
    describe_conflicts,
    describe_entry,
    describe_extent,
    describe_near,
    describe_outlier,
    describe_outliers,
    describe_pair,
    describe_pair_names,
    describe_pairs,
    describe_suspects,
)

from ..visualization import FoundImage
from ..visualization.html_report import ReportSettings
from ..visualization.photo_groups import PhotoGroup, write_photo_groups
from .result_pages import found_image

LIMIT = 200
_SIDE, _COMPARED = 256, 3


class _Photos:
    """Photos of a gallery's rows, as pages show them."""

    def __init__(self, gallery: GalleryReader, root: Moves) -> None:
        self.gallery = gallery
        self.roots = Roots.of(gallery.manifest.origin).moved(root)
        spaces = Spaces.of(gallery)
        self._given = spaces.sources(spaces.space(None))[0]

    def of(self, record: Record, is_right: bool | None = None) -> FoundImage:
        """A row's photo."""
        return found_image(replace(record, similarity_map=None), self.roots, is_right=is_right)

    def read(self, ids: Sequence[int]) -> list[FoundImage]:
        """Photos of rows by their ids."""
        return [self.of(record) for record in self.gallery.records(ids)] if len(ids) else []

    def nearest(self, row_id: int, label: str, count: int) -> list[FoundImage]:
        """Photos of a class that are most like a row, without itself."""
        vector = self.gallery.vectors([row_id], self._given)
        hits = self.gallery.search(
            vector, count, space=self._given, where={'label': label}, exclude=[[row_id]], transformed=True
        )
        return self.read([one for one in hits.ids[0].tolist() if one >= 0])

    def of_class(self, label: str, count: int) -> list[FoundImage]:
        """Some photos of a class."""
        return self.read(self.gallery.ids([Condition('label', '=', label)])[:count].tolist())


def write_audit_page(
    found: Audit, path: str | Path, gallery: GalleryReader, root: Moves = None, limit: int = LIMIT
) -> list[Path]:
    """Write an audit as pages of HTML, of each kind of finding up to ``limit``, the worst first; returns the files.

    A photo whose label is doubtful stands beside those of the suggested and of its own class that are most like it.
    ``root`` says where photos of the gallery's roots lie, if elsewhere than it says.

    Raises:
        RetrievalError: If a root is not there.
        GLSimError: If a page cannot be written.
    """
    photos = _Photos(gallery, root)
    facts = [('Photos', f'{found.photos:,}'), ('Labels', f'{found.labelled:,} of {found.classes} classes')]
    sentences = [describe_extent(found), *found.notes]
    sentences += [
        f'{text(found)}.' for text in (describe_suspects, describe_conflicts, describe_pairs, describe_outliers)
    ]
    return write_photo_groups(
        path,
        _audit_groups(found, photos, limit),
        ReportSettings(title='Audit of a gallery', side=_SIDE),
        facts,
        sentences,
    )


def _audit_groups(found: Audit, photos: _Photos, limit: int) -> Iterator[PhotoGroup]:
    for one in found.suspects[:limit]:
        yield PhotoGroup(
            'Doubtful labels',
            f'{pretty_name(one.label)}, or {pretty_name(one.suggestions[0][0])}?',
            _reason(one),
            _compared(one, photos),
            _note(len(found.suspects), limit, 'the most doubtful first'),
        )
    for group in found.conflicts[:limit]:
        shown = [(_differences(record, group.differ), photos.of(record)) for record in group.records[:limit]]
        kind = describe_conflict(group)
        note = _note(len(found.conflicts), limit)
        yield PhotoGroup('Copies that differ', kind[:1].upper() + kind[1:], '', shown, note)
    for pair in found.pairs[:limit]:
        shown = [
            (pretty_name(label), photo)
            for label in (pair.first, pair.second)
            for photo in photos.of_class(label, _COMPARED)
        ]
        note = _note(len(found.pairs), limit, 'the hardest first')
        sentence = describe_pair(pair)
        heading = describe_pair_names(pair)
        yield PhotoGroup(
            'Classes that are hard to tell apart', heading, f'{sentence[:1].upper()}{sentence[1:]}.', shown, note
        )
    some = found.outliers[:limit]
    if some:
        read = photos.read([one.id for one in some])
        shown = [(describe_outlier(one), photo) for one, photo in zip(some, read)]
        note = _note(len(found.outliers), limit, 'the oddest first')
        yield PhotoGroup('Photos that are unlike all others', '', '', shown, note)


def _reason(one: Suspect) -> str:
    others = ', '.join(f'{pretty_name(label)} {share:.2f}' for label, share in one.suggestions[1:] if share >= 0.01)
    text = f'{one.reason[:1].upper()}{one.reason[1:]}.'
    return f'{text} Others: {others}.' if others else text


def _compared(one: Suspect, photos: _Photos) -> list[tuple[str, FoundImage]]:
    (record,) = photos.gallery.records([one.id])
    best = one.suggestions[0][0]
    return [
        (f'this one, labelled {pretty_name(one.label)}', photos.of(record, is_right=False)),
        *((f'suggested: {pretty_name(best)}', photo) for photo in photos.nearest(one.id, best, _COMPARED)),
        *((f'given: {pretty_name(one.label)}', photo) for photo in photos.nearest(one.id, one.label, _COMPARED)),
    ]


def _differences(record: Record, names: Sequence[str]) -> str:
    values = [getattr(record, name) for name in names]
    return ', '.join(pretty_name(value) if value is not None else f'no {name}' for name, value in zip(names, values))


def _note(count: int, limit: int, order: str = '') -> str:
    return ', '.join(
        part for part in (f'{min(count, limit):,} of {count:,}' if count > limit else f'{count:,}', order) if part
    )


def write_guide_page(
    guide: Mapping[str, ClassEntry], path: str | Path, gallery: GalleryReader, root: Moves = None
) -> list[Path]:
    """Write a guide to classes as pages of HTML, and return the files; see :func:`write_audit_page`.

    Each class has its typical photos, and beside those that it may be taken for the two photos that are most alike.
    """
    photos = _Photos(gallery, root)
    facts = [('Classes', f'{len(guide):,}'), ('Photos', f'{sum(entry.count for entry in guide.values()):,}')]
    settings = ReportSettings(title='Guide to the classes', side=_SIDE)
    return write_photo_groups(path, _guide_groups(guide, photos), settings, facts, () if guide else [_NO_LABEL])


_NO_LABEL = 'No photo has a label.'


def _guide_groups(guide: Mapping[str, ClassEntry], photos: _Photos) -> Iterator[PhotoGroup]:
    for entry in guide.values():
        title, note = pretty_name(entry.label), describe_entry(entry)
        yield PhotoGroup(title, '', '', [('typical', photo) for photo in photos.read(entry.prototypes)], note)
        for near in entry.nearest:
            name = pretty_name(near.label)
            shown = list(zip((title, name), photos.read(near.pair)))
            sentence = describe_near(near)
            yield PhotoGroup(title, f'Like {name}', f'{sentence[:1].upper()}{sentence[1:]}.', shown, note)
