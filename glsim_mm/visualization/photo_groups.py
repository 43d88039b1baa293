"""Groups of photos, each with a heading, a sentence and captions, as pages of HTML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .html_pages import PAGE_BYTES, Piece, render_piece, stream_page, write_pages
from .html_report import ReportSettings
from .search_sheet import FoundImage, place_photo, take_new_photos

_TEMPLATE = 'photo_groups.html'


@dataclass
class PhotoGroup:
    """Photos that are shown side by side, and why.

    Example::

        PhotoGroup('Doubtful labels', 'Wren, or Robin?', 'labelled Wren, but ...', [('this photo', found)])

    Attributes:
        section: Title above this and the groups that follow with the same one.
        heading: Of the group; '' for none.
        sentence: Below the heading.
        photos: Pairs of a caption and a photo, whose class, path and id stand below.
        note: Beside the title of the section.
    """

    section: str
    heading: str
    sentence: str
    photos: Sequence[tuple[str, FoundImage]]
    note: str = ''


def write_photo_groups(
    path: str | Path,
    groups: Iterable[PhotoGroup],
    settings: ReportSettings,
    facts: Sequence[tuple[str, str]] = (),
    sentences: Sequence[str] = (),
    limit: int = PAGE_BYTES,
) -> list[Path]:
    """Draw groups of photos into pages of HTML that need no other file, no network and no scripts.

    A photo is embedded once on each page. Every text is escaped.

    Args:
        path: The first page, see :func:`glsim_mm.visualization.html_pages.write_pages`, also for ``limit``.
        groups: Taken one by one, so that their photos need not be in memory together.
        settings: Title, and side of the photos.
        facts: Names and values at the head of the first page.
        sentences: Paragraphs above the groups.
        limit: Bytes of a page.

    Returns:
        The files.
    """

    content = dict(settings=settings, facts=facts, sentences=sentences)
    return write_pages(path, _TEMPLATE, _pieces(groups, settings.side), limit, **content)


def stream_photo_groups(
    groups: Iterable[PhotoGroup], settings: ReportSettings, facts: Sequence[tuple[str, str]] = ()
) -> Iterator[bytes]:
    """The same as one page of any length, whose bytes come group by group."""
    content: dict[str, Any] = dict(settings=settings, facts=facts, sentences=())
    return stream_page(_TEMPLATE, _pieces(groups, settings.side), **content)


def _pieces(groups: Iterable[PhotoGroup], side: int) -> Iterator[Piece]:
    before = None
    for group in groups:
        yield _piece(group, group.section == before, side)
        before = group.section


def _piece(group: PhotoGroup, is_continued: bool, side: int) -> Piece:
    def piece(left: dict[Any, Any]) -> str:
        is_titled, left['title'] = left.get('title') == group.section, group.section
        photos = [(caption, place_photo(photo, side, left)) for caption, photo in group.photos]
        heading = dict(title=group.section, note=group.note, is_titled=is_titled, is_continued=is_continued)
        return render_piece('photo_group.html', group=group, photos=photos, new=take_new_photos(left), **heading)

    return piece
