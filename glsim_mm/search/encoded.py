"""What an encoder returns, and what a run that encodes many images reports."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from retrieval.answers import one_line
from retrieval.gallery import GalleryReader, Record

from ..images.photo_folders import LeftOut
from .exif_columns import ExifReport


class EncodingError(NamedTuple):
    """An image that could not be encoded.

    ``position`` is its place among the images, from 0; ``path`` is empty for an array.
    """

    position: int
    path: str
    reason: str


@dataclass
class Encoded:
    """Embeddings of n images, in their order, and what goes with them.

    Attributes:
        embeddings: float32, (n, C) for each space, as the model gives them: not normalised, except for the parts of
            ``'concat'``.
        records: Path, label, box of the cropped region and the like, n of them.
        positions: int64, (n,), place of each among the images that were given.
        patches: float16, (n, O, C), tokens of the selected patches, best first, if kept.
        errors: Images that are not among the n.
        class_scores: float32, (n, K), probabilities of the model's classes, if asked for.
    """

    embeddings: dict[str, np.ndarray]
    records: list[Record]
    positions: np.ndarray
    patches: np.ndarray | None = None
    errors: list[EncodingError] = field(default_factory=list)
    class_scores: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.records)

    def rows(self, rows: np.ndarray) -> 'Encoded':
        """Some of the n images, in the order of ``rows``, with all errors."""
        return Encoded(
            {space: array[rows] for space, array in self.embeddings.items()},
            [self.records[row] for row in rows],
            self.positions[rows],
            None if self.patches is None else self.patches[rows],
            self.errors,
            None if self.class_scores is None else self.class_scores[rows],
        )


def join_encoded(parts: Sequence[Encoded]) -> Encoded:
    """Images of several batches of one encoder, at least one, in the order of their positions."""
    filled = [part for part in parts if len(part)] or parts[:1]
    first = filled[0]
    joined = Encoded(
        {space: np.concatenate([part.embeddings[space] for part in filled]) for space in first.embeddings},
        [record for part in filled for record in part.records],
        np.concatenate([part.positions for part in filled]),
        None if first.patches is None else np.concatenate([part.patches for part in filled]),
        sorted(error for part in parts for error in part.errors),
        None if first.class_scores is None else np.concatenate([part.class_scores for part in filled]),
    )
    return joined.rows(np.argsort(joined.positions, kind='stable'))


@dataclass
class SourceReport:
    """What has become of the photos of a gallery whose rows were encoded again.

    Attributes:
        rows: How many they were.
        gone: Rows of photos that are not there any more; they are among the unreadable ones.
        changed: Paths of photos whose content has changed since.
        is_outdated: Whether the gallery was written to after its rows were read.
    """

    rows: int
    gone: int = 0
    changed: list[str] = field(default_factory=list)
    is_outdated: bool = False


@dataclass
class EncodingReport:
    """What a run that encodes images has done.

    Attributes:
        location: Folder or address of the gallery.
        encoder: Which pretrained encoder was used as it is, and its licence; empty for the model of a config.
        size: Rows that the gallery has now.
        encoded: Images that went through the model in this run.
        reused: Images whose embedding was there already, by the hash of their content.
        updated: Rows replaced because the file at their path has another content now; they are among ``encoded``.
        described: Rows of images that were there already, whose label, split or metadata were replaced.
        left_alone: Paths of images of which a list, table or caller says something, but whose content is in the
            gallery at another path, whose row stays as it is.
        unreadable: Images that are not in the gallery, and why.
        left_out: What was found beside photos, or excluded.
        source: What became of the rows of another gallery, if these were encoded.
        exif: What the EXIF data of photos gave, if it was asked for.
        seconds: Spent on encoding, start of the worker processes included.
        spaces: Dimension of each space of the gallery.
        preset: Kind of index, with the reason for it.
        learned: What was learned from labels, and whether it is kept.
        searched: Which space searches compare by default, and why.
    """

    location: str
    encoder: str = ''
    size: int = 0
    encoded: int = 0
    reused: int = 0
    updated: int = 0
    described: int = 0
    left_alone: list[str] = field(default_factory=list)
    unreadable: list[EncodingError] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)
    source: SourceReport | None = None
    exif: ExifReport | None = None
    learned: str = ''
    searched: str = ''
    seconds: float = 0.0
    spaces: dict[str, int] = field(default_factory=dict)
    preset: str = ''
    preset_reason: str = ''

    def take_gallery(self, gallery: GalleryReader) -> None:
        """Fill in what the gallery says of itself."""
        manifest = gallery.manifest
        self.size = len(gallery)
        self.spaces = dict(manifest.spaces)
        self.preset, self.preset_reason = manifest.preset, manifest.preset_reason

    @property
    def images_per_second(self) -> float:
        """Images through the model per second of encoding; 0 if there were none."""
        return self.encoded / self.seconds if self.seconds > 0 else 0.0


def format_report(report: EncodingReport, listed: int = 20) -> str:
    """A report as text of several lines, which names at most ``listed`` unreadable images."""
    spaces = ', '.join(f'{name} ({dimension})' for name, dimension in report.spaces.items())
    lines = [
        f'gallery: {report.location}',
        *([f'encoder: {report.encoder}'] if report.encoder else []),
        f'images: {report.size:,} in the gallery, {report.encoded:,} encoded now'
        + (f' ({report.images_per_second:.1f} images/s)' if report.encoded else '')
        + (f', {report.updated:,} of them in place of older versions' if report.updated else '')
        + (f', {report.reused:,} encoded before' if report.reused else ''),
        f'spaces: {spaces}',
    ]
    if report.preset:
        lines.append(f'index: {report.preset}' + (f' ({report.preset_reason})' if report.preset_reason else ''))
    lines += report.learned.splitlines()
    if report.searched:
        lines.append(f'searched by default: {report.searched}')
    if report.described:
        lines.append(f'labels and metadata: replaced in {report.described:,} rows')
    if report.left_alone:
        advice = 'glsim sync lets rows follow their photos'
        lines.append(f'left alone: {len(report.left_alone):,}, whose content is there at another path; {advice}')
        lines += listed_lines([one_line(path) for path in report.left_alone], listed)
    if report.unreadable:
        lines.append(f'unreadable: {len(report.unreadable):,}, left out')
        errors = [f'{one_line(error.path)}: {one_line(error.reason)}' for error in report.unreadable]
        lines += listed_lines(errors, listed)
    if report.source is not None:
        lost = len(report.unreadable)
        lines.append(f'rows: {report.source.rows - lost:,} of {report.source.rows:,} taken over')
        if lost:
            lines[-1] += f'; of the {lost:,} left out, the photos of {report.source.gone:,} are gone'
        if report.source.changed:
            lines.append(f'changed since: {len(report.source.changed):,}, encoded as they are now')
            lines += listed_lines([one_line(path) for path in report.source.changed], listed)
        if report.source.is_outdated:
            lines.append('the other gallery was written to meanwhile: what changed in it since is not in this one')
    if report.exif is not None:
        lines.append(f'EXIF: {one_line(report.exif.summary())}')
    if report.left_out:
        lines.append(f'left out: {one_line(report.left_out.summary())}')
    return '\n'.join(lines)


def listed_lines(texts: Sequence[str], listed: int) -> list[str]:
    """Indented lines for the first of some texts, and one that says how many more there are."""
    more = [f'  and {len(texts) - listed:,} more'] if len(texts) > listed else []
    return [*(f'  {text}' for text in texts[:listed]), *more]


def sorted_errors(errors: Sequence[EncodingError]) -> list[EncodingError]:
    """Errors in the order of the images, each image once."""
    return [error for _, error in sorted({error.position: error for error in errors}.items())]
