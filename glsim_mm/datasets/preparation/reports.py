"""What a check found, in words."""

import shlex
from collections.abc import Iterable, Sequence

from .checking import SetReport
from .descriptions import DOWNLOADS, PublishedSet, Source

_SHOWN = 10


def format_report(report: SetReport) -> str:
    """A report as text: what is missing or wrong, and where to get it.

    Args:
        report: What was found.

    Returns:
        Lines.
    """
    verdict = 'complete' if report.is_complete else 'incomplete'
    lines = [f'{report.published.title} in {report.root}: {verdict}']
    for source, paths in report.missing:
        kind = 'not there (optional)' if source.optional else 'missing'
        origin = '' if paths == [source.name] else f' (from {source.name})'
        lines += [f'  {kind}: {path.split("|")[0]}{origin}' for path in paths]
    lines += [f'  wrong: {source.provides[0].split("|")[0]} {difference}' for source, difference in report.wrong]
    if report.annotation_error:
        lines.append(f'  annotations: {report.annotation_error}')
    lines += [*_about_images(report), *(f'  failed: {failure}' for failure in report.failures)]
    if report.needed:
        lines += ['to get:', *_how_to_get(report)]
    return '\n'.join(lines)


def format_set(published: PublishedSet) -> str:
    """What is known about a data set's files, as text.

    Args:
        published: The set.

    Returns:
        Lines.
    """
    number = 'number not published' if published.num_images is None else f'{published.num_images:,}'
    lines = [f'{published.name}: {published.title}', f'  homepage: {published.homepage}']
    lines += [f'  licence: {published.licence}', f'  images: {number} ({", ".join(published.splits)})']
    if published.notes:
        lines.append(f'  note: {published.notes}')
    for source in published.sources:
        lines += [f'  {line}' for line in _describe(source)]
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
    lines = [f'  images: {report.num_listed:,} listed{expected}']
    lines += _shortened('missing image', report.missing_images)
    if report.unreadable is not None:
        lines += _shortened('unreadable', [f'{file.path}: {file.reason}' for file in report.unreadable])
    if report.duplicates is not None:
        lines += _shortened('equal content', [', '.join(group) for group in report.duplicates])
    return lines


def _shortened(what: str, found: Sequence[str]) -> list[str]:
    lines = [f'  {what}: {one}' for one in found[:_SHOWN]]
    if len(found) > _SHOWN:
        lines.append(f'  {what}: and {len(found) - _SHOWN:,} more')
    return lines


def _how_to_get(report: SetReport) -> Iterable[str]:
    for source in report.needed:
        yield from (f'  {line}' for line in _describe(source))
        if source.url is None and source.is_archive:
            yield f'    put it in {report.root / DOWNLOADS} and run with --download, or unpack it in {report.root}'
        elif source.url is None:
            yield f'    put its files in {report.root}'
    if any(source.url for source in report.needed):
        root = shlex.quote(str(report.root))
        command = f'python tools/datasets/prepare.py {report.published.name} --root {root} --download'
        yield f'what has a URL is fetched by: {command}'


def _describe(source: Source) -> list[str]:
    size = 'size not published' if source.size is None else _readable(source.size)
    origin = f' (according to {source.checksum_from})' if source.checksum_from else ''
    checksum = f'{source.checksum}{origin}' if source.checksum else 'checksum not published'
    optional = ', optional' if source.optional else ''
    return [f'{source.name}: {size}, {checksum}{optional}', f'  {source.url or source.by_hand}']


def _readable(size: int) -> str:
    """Bytes in decimal units."""
    for unit, factor in (('GB', 10**9), ('MB', 10**6), ('kB', 10**3)):
        if size >= factor:
            return f'{size / factor:.1f} {unit}'
    return f'{size} bytes'
