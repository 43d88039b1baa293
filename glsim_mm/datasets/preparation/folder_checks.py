"""Checks whether a data set's folder is complete, and says what to do if it is not."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.filesize import decimal

from ...errors import GLSimError
from ...images.image_files import Progress, UnreadableFile, find_duplicates, find_unreadable, missing_files
from ..fine_grained import DOWNLOADS, PublishedSet, Source
from .downloads import mismatch

_SHOWN = 10


@dataclass
class SetReport:
    """What was found in a data set's folder."""

    published: PublishedSet
    root: Path
    missing: list[tuple[Source, list[str]]] = field(default_factory=list)  # incomplete sources and what they lack
    wrong: list[tuple[Source, str]] = field(default_factory=list)  # files that are not the published ones, and why
    annotation_error: str | None = None  # why the annotations cannot be read
    num_listed: int | None = None  # images that the annotations list
    missing_images: list[str] = field(default_factory=list)  # those of them that are not there, below the folder
    unreadable: list[UnreadableFile] = field(default_factory=list)
    duplicates: list[list[str]] = field(default_factory=list)  # groups with equal content
    failures: list[str] = field(default_factory=list)  # of downloads and archives

    @property
    def has_expected_number(self) -> bool:
        """Whether the annotations list as many images as the set has, or that number is not known exactly."""
        return not self.published.is_exact or self.published.num_images in (None, self.num_listed)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing or damaged; duplicates and optional files do not count."""
        return (
            not any(not source.optional for source, _ in self.missing)
            and not (self.wrong or self.annotation_error or self.missing_images or self.unreadable)
            and self.has_expected_number
        )

    @property
    def needed(self) -> list[Source]:
        """Sources to fetch or unpack again: incomplete ones, and those with damaged images or wrong lines."""
        names = {source.name for source, _ in (*self.missing, *self.wrong)}
        broken = [*self.missing_images, *(_below(self.root, file.path) for file in self.unreadable)]

        def has_fault(path: str) -> bool:
            is_blamed = (self.root / path).is_file() and f'{self.root / path} ' in f'{self.annotation_error} '
            return is_blamed or any(image.startswith(f'{path}/') for image in broken)

        sources = self.published.sources
        return [source for source in sources if source.name in names or any(map(has_fault, source.paths))]


def check_set(
    published: PublishedSet,
    root: str | Path,
    images: bool = False,
    deep: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> SetReport:
    """Compare a folder with what is published: files, their checksums, the images that the annotations list.

    With ``images`` all of them are decoded, with ``deep`` those with equal content are found, in ``workers`` threads.
    """
    root = Path(root)
    if root.exists() and not root.is_dir():
        raise GLSimError(f'{root} is not a folder; give the folder of the data set')
    report = SetReport(published, root)
    for source in published.sources:
        missing = source.missing(root)
        if missing:
            report.missing.append((source, missing))
        elif not source.is_archive and (wrong := _difference(source, root)):
            report.wrong.append((source, wrong))
    if any(not source.optional for source, _ in report.missing):
        return report
    paths = []
    try:
        for split in published.splits:
            dataset = published.reader(str(root), split=split, serialize_data=False)
            paths += [str(dataset.get_data_info(index)['img_path']) for index in range(len(dataset))]
    except GLSimError as error:
        report.annotation_error = str(error)
        return report
    report.num_listed = len(paths)
    gone = set(missing_files(paths))
    report.missing_images = [_below(root, path) for path in paths if path in gone]
    there = [path for path in paths if path not in gone]
    if images:
        report.unreadable = find_unreadable(there, workers, progress)
    if deep:
        report.duplicates = find_duplicates(there, workers, progress)
    return report


def _difference(source: Source, root: Path) -> str | None:
    """How a file differs from the published one; a file of an alternative layout is not compared."""
    path = next(root / path for path in source.paths if (root / path).exists())
    return mismatch(path, source.checksum, source.size) if path.is_file() and path.name == source.name else None


def _below(root: Path, path: str) -> str:
    return Path(path).relative_to(root).as_posix()


def format_report(report: SetReport) -> str:
    """Format a report as text: what is missing or wrong, and where to get it."""
    verdict = 'complete' if report.is_complete else 'incomplete'
    lines = [f'{report.published.title} in {report.root}: {verdict}']
    for source, paths in report.missing:
        kind = 'not there (optional)' if source.optional else 'missing'
        origin = '' if paths == [source.name] else f' (from {source.name})'
        lines += [f'  {kind}: {path.split("|")[0]}{origin}' for path in paths]
    lines += [f'  wrong: {source.paths[0]} {difference}' for source, difference in report.wrong]
    if report.annotation_error:
        lines.append(f'  annotations: {report.annotation_error}')
    lines += [*_about_images(report), *(f'  failed: {failure}' for failure in report.failures)]
    if report.needed:
        lines += ['to get:', *_how_to_get(report)]
    return '\n'.join(lines)


def format_set(published: PublishedSet) -> str:
    """Format what is known about a data set's files as text."""
    number = 'number not published' if published.num_images is None else f'{published.num_images:,}'
    lines = [f'{published.name}: {published.title}', f'  homepage: {published.homepage}']
    lines += [f'  licence: {published.licence}', f'  images: {number} ({", ".join(published.splits)})']
    if published.notes:
        lines.append(f'  note: {published.notes}')
    for source in published.sources:
        lines += [f'  {line}' for line in _describe(source, published)]
    return '\n'.join(lines)


def _about_images(report: SetReport) -> list[str]:
    if report.num_listed is None:
        return ['  images: not counted, as annotations or images are missing']
    published = report.published.num_images
    expected = '' if report.has_expected_number else f', but the published set has {published:,}'
    if published is None:
        expected = ' (number not published)'
    elif not report.published.is_exact:
        expected = f' (published: {published:,})'
    return [
        f'  images: {report.num_listed:,} listed{expected}',
        *_shortened('missing image', report.missing_images),
        *_shortened('unreadable', [f'{file.path}: {file.reason}' for file in report.unreadable]),
        *_shortened('equal content', [', '.join(group) for group in report.duplicates]),
    ]


def _shortened(what: str, found: Sequence[str]) -> list[str]:
    lines = [f'  {what}: {one}' for one in found[:_SHOWN]]
    if len(found) > _SHOWN:
        lines.append(f'  {what}: and {len(found) - _SHOWN:,} more')
    return lines


def _how_to_get(report: SetReport) -> Iterable[str]:
    for source in report.needed:
        yield from (f'  {line}' for line in _describe(source, report.published))
        if source.url is None and source.is_archive:
            yield f'    put it in {report.root / DOWNLOADS} and run with --download, or unpack it in {report.root}'
        elif source.url is None:
            yield f'    put its files in {report.root}'
    if any(source.url for source in report.needed):
        root = shlex.quote(str(report.root))
        command = f'glsim prepare {report.published.name} --root {root} --download'
        yield f'what has a URL is fetched by: {command}'


def _describe(source: Source, published: PublishedSet) -> list[str]:
    size = 'size not published' if source.size is None else decimal(source.size)
    checksum = f'{source.checksum} (according to {published.checksums_from})'
    checksum = checksum if source.checksum else 'checksum not published'
    optional = ', optional' if source.optional else ''
    return [f'{source.name}: {size}, {checksum}{optional}', f'  {source.url or published.by_hand}']
