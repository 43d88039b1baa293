"""Completes a data set's folder from what is published."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from mmengine.logging import print_log

from ...errors import GLSimError
from ...progress import ProgressBar
from ..fine_grained import DOWNLOADS, Source
from ..published_sets import find_published_set
from .archives import extract
from .downloads import download, mismatch
from .folder_checks import SetReport, check_set


def prepare(
    name: str,
    root: str | Path,
    fetch: bool = False,
    images: bool = False,
    deep: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> SetReport:
    """Check a published data set and, with ``fetch``, complete it.

    Args:
        name: Short name, for example ``'cub'``.
        root: Its folder, the ``data_root`` of configs.
        fetch: Download and unpack what is missing or damaged and has a URL.
        images: Decode all images.
        deep: Look for images with equal content.
        workers: Threads. Defaults to the number of cores.
        progress: Show on standard error how far downloads and checks of images are.

    Returns:
        What is there in the end, and which downloads failed.

    Raises:
        GLSimError: If there is no such set, or the folder is a file.
    """
    published = find_published_set(name)
    with ProgressBar(None, published.title, progress and (images or deep)) as bar:
        report = check_set(published, root, images, deep, workers, bar.update)
    if not (fetch and report.needed):
        return report
    failures = fetch_sources(report.needed, root, progress=progress)
    with ProgressBar(None, published.title, progress and (images or deep)) as bar:
        report = check_set(published, root, images, deep, workers, bar.update)
    report.failures = failures
    return report


def fetch_sources(sources: Iterable[Source], root: str | Path, pause: float = 2, progress: bool = True) -> list[str]:
    """Download and unpack sources into a data set's folder; those without a URL that do not exist are skipped.

    An archive that is in ``downloads/`` already, fetched before or by hand, is checked and unpacked instead of
    downloaded. Archives stay there; they can be removed once the set is complete. If one fails, the others are still
    fetched.

    Args:
        sources: What is needed.
        root: The data set's folder; it is made if it is not there.
        pause: Seconds before a failed connection is tried again, doubled each time.
        progress: Show on standard error how far a download is.

    Returns:
        A sentence for each download or archive that failed.
    """
    failures = []
    for source in sources:
        try:
            _fetch(source, Path(root), pause, progress)
        except GLSimError as error:
            failures.append(str(error))
    return failures


def _fetch(source: Source, root: Path, pause: float, progress: bool) -> None:
    path = source.path(root)
    there = path.is_file() and not _is_wrong(source, path)
    if not there and source.url is None:
        return
    if not there:
        _log(f'downloading {source.url}')
        with ProgressBar(None, source.name, progress, 'MB') as bar:
            report = partial(_report_megabytes, bar)
            download(str(source.url), path, source.checksum, source.size, pause=pause, progress=report)
    if source.is_archive:
        _log(f'unpacking {path}')
        extract(path, root, source.provides, source.rename)


def _is_wrong(source: Source, path: Path) -> bool:
    """Whether a file is not the published one; raise if only the user can replace it."""
    wrong = mismatch(path, source.checksum, source.size)
    if wrong and source.url is None:
        where = f'{DOWNLOADS}/ of the data set' if source.is_archive else 'the data set'
        raise GLSimError(f'{path} {wrong}; it is incomplete or another file, replace it in {where}')
    return wrong is not None


def _log(message: str) -> None:
    print_log(message, logger='current')


def _report_megabytes(bar: ProgressBar, done: int, total: int | None) -> None:
    bar.update(done / 1e6, None if total is None else total / 1e6)
