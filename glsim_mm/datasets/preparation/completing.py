"""Completes a data set's folder from what is published."""

from collections.abc import Iterable
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
    """Check a published data set, and with ``fetch`` complete it, as ``glsim prepare`` does.

    Args:
        name: Short name, for example ``'cub'``.
        root: Its folder, the ``data_root`` of configs.
        fetch: Download and unpack what is missing or damaged and has a URL.
        images: Decode all images.
        deep: Look for images with equal content.
        workers: Threads. Defaults to the number of cores.
        progress: Show on standard error how far downloads and checks of images are.
    """
    published = find_published_set(name)

    def check() -> SetReport:
        with ProgressBar(None, published.title, progress and (images or deep)) as bar:
            return check_set(published, root, images, deep, workers, bar.update)

    report = check()
    if fetch and report.needed:
        failures = fetch_sources(report.needed, root, progress=progress)
        report = check()
        report.failures = failures
    return report


def fetch_sources(sources: Iterable[Source], root: str | Path, pause: float = 2, progress: bool = True) -> list[str]:
    """Download and unpack sources into a data set's folder; return a sentence for each that failed.

    An archive that is in ``downloads/`` already, fetched before or by hand, is checked and unpacked instead of
    downloaded. Archives stay there; they can be removed once the set is complete. A source without a URL that is not
    there is skipped.
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
    is_there = path.is_file()
    wrong = mismatch(path, source.checksum, source.size) if is_there else None
    if source.url is None and not is_there:
        return
    if source.url is None and wrong:
        where = f'{DOWNLOADS}/ of the data set' if source.is_archive else 'the data set'
        raise GLSimError(f'{path} {wrong}; it is incomplete or another file, replace it in {where}')
    if wrong or not is_there:
        print_log(f'downloading {source.url}', logger='current')
        with ProgressBar(None, source.name, progress, 'MB') as bar:

            def report(done: int, total: int | None) -> None:
                bar.update(done / 1e6, None if total is None else total / 1e6)

            download(str(source.url), path, source.checksum, source.size, pause=pause, progress=report)
    if source.is_archive:
        print_log(f'unpacking {path}', logger='current')
        extract(path, root, source.provides, source.rename)
