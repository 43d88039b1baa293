"""What is known about the files of a published data set."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DOWNLOADS = 'downloads'
"""Folder below a data set's for its archives."""

# What is written in many descriptions.
RESEARCH = 'non-commercial research and education'
NOT_STATED = 'not stated'
TORCHVISION = 'torchvision'
TENSORFLOW_DATASETS = 'TensorFlow Datasets'

_ARCHIVE_SUFFIXES = ('.zip', '.tar', '.tar.gz', '.tgz', '.tar.bz2', '.tar.xz')


@dataclass(frozen=True)
class Source:
    """A published file: an archive, or a file that is used as it is.

    Attributes:
        name: Name of the file.
        provides: What it brings, as paths below the data set's folder; where several layouts are read, alternatives are
            separated by ``|``, the archive's own first. A file that is no archive has one.
        url: Where anyone can fetch it; None if it is to be fetched by hand.
        checksum: ``'md5:...'`` or ``'sha256:...'``; None if it is not published.
        checksum_from: Who published the checksum.
        size: In bytes, None if it is not published.
        by_hand: How to get it where ``url`` is None.
        optional: Whether the data set is complete without it.
        rename: New names of files and folders that lie at the archive's top.
    """

    name: str
    provides: tuple[str, ...]
    url: str | None = None
    checksum: str | None = None
    checksum_from: str = ''
    size: int | None = None
    by_hand: str = ''
    optional: bool = False
    rename: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_archive(self) -> bool:
        """Whether it has to be unpacked."""
        return self.name.lower().endswith(_ARCHIVE_SUFFIXES)

    def path(self, root: Path) -> Path:
        """Where the file is kept in a data set's folder: archives in ``downloads/``."""
        return root / DOWNLOADS / self.name if self.is_archive else root / self.provides[0].split('|')[0]

    def missing(self, root: Path) -> list[str]:
        """Which of the provided paths are not in a data set's folder, in no alternative."""
        return [paths for paths in self.provides if not any((root / path).exists() for path in paths.split('|'))]


@dataclass(frozen=True)
class PublishedSet:
    """A published data set.

    Attributes:
        name: Short name, as in the names of configs.
        title: Full name.
        homepage: Where its authors present it.
        licence: Its terms, as far as its authors state them.
        dataset_type: Registered class that reads it.
        splits: Official splits that share no image.
        num_images: Images of these splits together; None if it is not published.
        sources: Its files.
        notes: What else is to be known.
        is_exact: Whether the lists must name ``num_images`` images; False where the number was published with other
            lists than those here.
    """

    name: str
    title: str
    homepage: str
    licence: str
    dataset_type: str
    splits: tuple[str, ...]
    num_images: int | None
    sources: tuple[Source, ...]
    notes: str = ''
    is_exact: bool = True
