"""Is a data set's folder complete, and what is to be done if not."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS

from ...errors import GLSimError
from .checksums import mismatch
from .descriptions import PublishedSet, Source
from .image_files import Progress, UnreadableFile, find_duplicates, find_unreadable, missing_files


@dataclass
class SetReport:
    """What was found in a data set's folder.

    Attributes:
        published: What should be there.
        root: The folder.
        missing: Sources that have not all of their paths there, and these paths.
        wrong: Files that are not the published ones, and how they differ.
        annotation_error: Why the annotations cannot be read, a sentence.
        num_listed: Images that the annotations list; None if they could not be read.
        missing_images: Those of them that are not there, as paths below the folder.
        unreadable: Images that cannot be decoded; None if they were not checked.
        duplicates: Groups of images with equal content; None if they were not checked.
        failures: Why downloads or archives failed, if that was tried.
    """

    published: PublishedSet
    root: Path
    missing: list[tuple[Source, list[str]]] = field(default_factory=list)
    wrong: list[tuple[Source, str]] = field(default_factory=list)
    annotation_error: str | None = None
    num_listed: int | None = None
    missing_images: list[str] = field(default_factory=list)
    unreadable: list[UnreadableFile] | None = None
    duplicates: list[list[str]] | None = None
    failures: list[str] = field(default_factory=list)

    @property
    def has_expected_number(self) -> bool:
        """Whether the annotations list as many images as the set has; True where that is not known exactly."""
        return not self.published.is_exact or self.published.num_images in (None, self.num_listed)

    @property
    def is_complete(self) -> bool:
        """Whether everything is there and in order; duplicates and what is optional do not count."""
        return (
            not any(not source.optional for source, _ in self.missing)
            and not (self.wrong or self.annotation_error or self.missing_images or self.unreadable)
            and self.has_expected_number
        )

    @property
    def needed(self) -> list[Source]:
        """Sources to fetch or unpack again, in the set's order."""
        names = {source.name for source, _ in (*self.missing, *self.wrong)}
        broken = [*self.missing_images, *(_below(self.root, file.path) for file in self.unreadable or ())]
        return [
            source
            for source in self.published.sources
            if source.name in names or _brings(source, broken) or self._is_blamed(source)
        ]

    def _is_blamed(self, source: Source) -> bool:
        """Whether the sentence about the annotations names a file of a source."""
        paths = [path for paths in source.provides for path in paths.split('|') if (self.root / path).is_file()]
        return any(f'{self.root / path} ' in f'{self.annotation_error} ' for path in paths)


def check_set(
    published: PublishedSet,
    root: str | Path,
    images: bool = False,
    deep: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> SetReport:
    """Compare a folder with what is published: files, their checksums, the images that the annotations list.

    Args:
        published: What should be there.
        root: The folder, the ``data_root`` of configs.
        images: Decode all images.
        deep: Look for images with equal content.
        workers: Threads. Defaults to the number of cores.
        progress: Called while images are decoded or compared.

    Returns:
        What was found.

    Raises:
        GLSimError: If the folder is a file.
    """
    root = Path(root)
    if root.exists() and not root.is_dir():
        raise GLSimError(f'{root} is no folder; give the folder of the data set')
    report = SetReport(published, root)
    for source in published.sources:
        missing = source.missing(root)
        if missing:
            report.missing.append((source, missing))
        elif not source.is_archive and len(source.provides) == 1:
            wrong = _difference(source, root)
            if wrong:
                report.wrong.append((source, wrong))
    if any(not source.optional for source, _ in report.missing):
        return report
    try:
        paths = listed_images(published, root)
    except GLSimError as error:
        report.annotation_error = str(error)
        return report
    _check_images(report, paths, images, deep, workers, progress)
    return report


def listed_images(published: PublishedSet, root: Path) -> list[str]:
    """Images that the annotations of all splits list.

    Args:
        published: The set.
        root: Its folder.

    Returns:
        Paths.

    Raises:
        GLSimError: If the annotations cannot be read.
    """
    paths = []
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        for split in published.splits:
            cfg = dict(type=published.dataset_type, data_root=str(root), split=split, serialize_data=False)
            dataset = DATASETS.build(cfg)
            paths += [str(dataset.get_data_info(index)['img_path']) for index in range(len(dataset))]
    return paths


def _check_images(
    report: SetReport,
    paths: Sequence[str],
    images: bool,
    deep: bool,
    workers: int | None,
    progress: Progress | None,
) -> None:
    report.num_listed = len(paths)
    missing = missing_files(paths)
    report.missing_images = [_below(report.root, path) for path in missing]
    gone = set(missing)
    there = [path for path in paths if path not in gone]
    if images:
        report.unreadable = find_unreadable(there, workers, progress)
    if deep:
        report.duplicates = find_duplicates(there, workers, progress)


def _difference(source: Source, root: Path) -> str | None:
    """How a file differs from the published one; an alternative of another layout is another file."""
    path = next(root / path for path in source.provides[0].split('|') if (root / path).exists())
    return mismatch(path, source.checksum, source.size) if path.is_file() and path.name == source.name else None


def _brings(source: Source, images: Sequence[str]) -> bool:
    folders = [f'{path}/' for paths in source.provides for path in paths.split('|')]
    return any(image.startswith(folder) for folder in folders for image in images)


def _below(root: Path, path: str) -> str:
    return Path(path).relative_to(root).as_posix()
