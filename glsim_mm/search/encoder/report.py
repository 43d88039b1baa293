"""What a run that encodes images did."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from retrieval.gallery.contract import GalleryReader

from .encoded import EncodingError

_LISTED = 20


@dataclass
class EncodingReport:
    """What was done.

    Attributes:
        location: Of the gallery.
        size: Rows that the gallery has now.
        encoded: Images that went through the model in this run.
        reused: Images whose embedding was there already, by the hash of their content.
        updated: Rows replaced because the file at their path has another content now; they are among ``encoded``.
        unreadable: Images that are not in the gallery, and why.
        seconds: Spent on encoding, start of the worker processes included.
        spaces: Dimension of each space of the gallery.
        preset: Kind of index.
        preset_reason: Why this one.
    """

    location: str
    size: int = 0
    encoded: int = 0
    reused: int = 0
    updated: int = 0
    unreadable: list[EncodingError] = field(default_factory=list)
    seconds: float = 0.0
    spaces: dict[str, int] = field(default_factory=dict)
    preset: str = ''
    preset_reason: str = ''

    def take_gallery(self, gallery: GalleryReader) -> None:
        """Fill in what is read off the gallery."""
        manifest = gallery.manifest
        self.size = len(gallery)
        self.spaces = dict(manifest.spaces)
        self.preset, self.preset_reason = manifest.preset, manifest.preset_reason

    @property
    def images_per_second(self) -> float:
        """Images through the model per second of encoding; 0 if there were none."""
        return self.encoded / self.seconds if self.seconds > 0 else 0.0


def format_report(report: EncodingReport, listed: int = _LISTED) -> str:
    """A report as text.

    Args:
        report: Of a run.
        listed: Unreadable images to name, at most. Defaults to 20.

    Returns:
        Several lines.
    """
    spaces = ', '.join(f'{name} ({dimension})' for name, dimension in report.spaces.items())
    lines = [
        f'gallery: {report.location}',
        f'images: {report.size:,} in the gallery, {report.encoded:,} encoded now'
        + (f' ({report.images_per_second:.1f} images/s)' if report.encoded else '')
        + (f', {report.updated:,} of them in place of older versions' if report.updated else '')
        + (f', {report.reused:,} encoded before' if report.reused else ''),
        f'spaces: {spaces}',
    ]
    if report.preset:
        lines.append(f'index: {report.preset}' + (f' ({report.preset_reason})' if report.preset_reason else ''))
    if report.unreadable:
        lines.append(f'unreadable: {len(report.unreadable):,}, left out')
        lines += [f'  {_one_line(error.path)}: {_one_line(error.reason)}' for error in report.unreadable[:listed]]
        if len(report.unreadable) > listed:
            lines.append(f'  and {len(report.unreadable) - listed:,} more')
    return '\n'.join(lines)


def sorted_errors(errors: Sequence[EncodingError]) -> list[EncodingError]:
    """Errors in the order of the images, each image once."""
    return [error for _, error in sorted({error.position: error for error in errors}.items())]


def _one_line(text: str) -> str:
    """Text without characters that would move the cursor or colour the terminal."""
    return ''.join(character if character.isprintable() else ' ' for character in text)
