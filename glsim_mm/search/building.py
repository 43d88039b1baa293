"""From photos to a gallery, resumable and by several processes: each encodes its share, and the first merges all."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch.utils.data import DataLoader

from retrieval.errors import RetrievalError
from retrieval.gallery import GalleryReader, GalleryWriter, create_gallery
from retrieval.vectors import METRICS

from ..apis.options import load_config
from ..images.photos import ImageItem, hash_content, is_address
from ..progress import ProgressBar
from .encoded import Encoded, EncodingError, EncodingReport, sorted_errors
from .encoder import Encoder
from .items import ItemList, dataset_items, find_items, hash_items, load_dataset
from .loader_images import LoaderImages
from .ranks import Ranks, join_ranks, own_device
from .shards import (
    SECONDS_BETWEEN_COMMITS,
    BuildFolder,
    CommitBuffer,
    Place,
    ShardSettings,
    add_to_shard,
    find_places,
    fit_whitening,
    merge_shards,
    open_shard,
    open_shards,
)


def build_gallery(
    images: Any,
    config: str | Path | Config,
    checkpoint: str | Path,
    location: str | Path,
    *,
    dataset: str | None = None,
    root: str | Path | None = None,
    spaces: Sequence[str] | None = None,
    keep_patches: bool = False,
    preset: str = 'auto',
    metric: str = 'cosine',
    memory_limit: int | None = None,
    whiten: int | None = None,
    batch_size: int = 32,
    num_workers: int = 2,
    device: str | None = None,
    amp: bool | str = False,
    overwrite: bool = False,
    progress: bool = True,
    seconds_between_commits: float = SECONDS_BETWEEN_COMMITS,
    launcher: str = 'none',
) -> EncodingReport | None:
    """Encode images into a new gallery.

    What is encoded is kept in ``LOCATION.parts`` until the gallery is whole, and committed there every 30 seconds. A
    run that was stopped, by Ctrl-C or a kill, goes on when it is called again, also with another number of processes:
    images whose content was encoded already do not go through the model. A gallery that is to be replaced stays until
    the new one is whole.

    Args:
        images: Folder, image, glob pattern, list of files (``.txt``), table (``.csv``, ``.tsv``), data set, list of
            these (see :func:`glsim_mm.search.find_items`), or a data loader (see
            :class:`~glsim_mm.search.loader_images.LoaderImages`); None with ``dataset``.
        config: Config of the model.
        checkpoint: Its weights.
        location: Folder of the gallery, or an address such as ``milvus://...``.
        dataset: Encode the config's own data set: ``'train'``, ``'val'`` or ``'test'``.
        root: Folder to which paths in the gallery are relative. Defaults to that of the images.
        spaces: See :class:`Encoder`, as for ``keep_patches``, ``device`` and ``amp``.
        preset: Kind of index. Defaults to ``'auto'``, which goes by number, dimension and memory limit.
        metric: ``'cosine'``, ``'ip'`` or ``'l2'``.
        memory_limit: Bytes that the index may take in memory.
        whiten: Whiten each space to so many dimensions.
        batch_size: Images per pass.
        num_workers: Processes that read photos, of each rank.
        overwrite: Replace a gallery that is there.
        progress: Show images per second and the time left on standard error.
        seconds_between_commits: How much work a kill may cost. Defaults to 30.
        launcher: ``'pytorch'`` under torchrun, ``'slurm'`` or ``'mpi'``: the ranks share the images, and rank 0 merges.
            All see the same file system.

    Returns:
        What was done by all ranks; None on others than 0.

    Raises:
        RetrievalError: If an argument cannot be used, there is a gallery already, no image can be read, or an
            unfinished build has other settings.
    """
    options = _GalleryOptions(preset, metric, memory_limit, whiten)
    folder = BuildFolder(location)
    with join_ranks(launcher) as ranks, folder.hold(overwrite) if ranks.is_first else nullcontext():
        ranks.wait()
        _check_options(options, images, dataset, ranks)
        cfg = config if isinstance(config, Config) else load_config(config)
        found = None if isinstance(images, DataLoader) else _find_images(images, dataset, cfg, root)
        encoder = Encoder(cfg, checkpoint, own_device(launcher, device), amp, spaces, keep_patches)
        build = _RankBuild(
            encoder,
            folder,
            options,
            ranks,
            batch_size,
            num_workers,
            progress=progress and ranks.is_first,
            seconds=seconds_between_commits,
        )
        if found is not None:
            return build.finish(found, build.encode_items(found.items))
        source = LoaderImages(images, encoder.pipeline, root)
        share = build.encode_loader(source)
        return build.finish(ItemList(source.items, source.root), share)


def _find_images(images: Any, dataset: str | None, cfg: Config, root: str | Path | None) -> ItemList:
    if dataset is None:
        return find_items(images, root)
    loaded = load_dataset(cfg, dataset)
    own = find_items(loaded, root)
    return own if root is not None else find_items(dataset_items(loaded, dataset), own.root or None)


def _check_options(options: _GalleryOptions, images: Any, dataset: str | None, ranks: Ranks) -> None:
    if options.metric not in METRICS:
        raise RetrievalError(f'metric must be one of {", ".join(METRICS)}, got {options.metric!r}')
    if (images is None) == (dataset is None):
        raise RetrievalError('give either images or the name of a data set of the config')
    if isinstance(images, DataLoader) and ranks.size > 1:
        raise RetrievalError('a data loader cannot be shared among processes: give its data set instead')


@dataclass(frozen=True)
class _GalleryOptions:
    """What kind of gallery to build.

    Attributes:
        preset: Kind of index, or a FAISS factory string.
        metric: ``'cosine'``, ``'ip'`` or ``'l2'``.
        memory_limit: Bytes that the index may take in memory, for ``'auto'``.
        whiten: Whiten each space to this dimension by PCA.
    """

    preset: str = 'auto'
    metric: str = 'cosine'
    memory_limit: int | None = None
    whiten: int | None = None


@dataclass
class _Share:
    """What one rank did.

    Attributes:
        hashes: Content hash of every readable image, by position.
        errors: Of the others.
        encoded: Images that went through the model.
        seconds: Spent on encoding.
        listing: Hash of the paths of all items, which all ranks must see alike.
    """

    hashes: dict[int, str] = field(default_factory=dict)
    errors: list[EncodingError] = field(default_factory=list)
    encoded: int = 0
    seconds: float = 0.0
    listing: str = ''

    def take(self, encoded: Encoded) -> None:
        """Count a batch."""
        self.hashes.update(
            (int(position), str(record.content_hash)) for position, record in zip(encoded.positions, encoded.records)
        )
        self.errors += encoded.errors
        self.encoded += len(encoded)


@dataclass
class _RankBuild:
    """One rank's part of a build.

    Attributes:
        encoder: The model.
        folder: Where it is built.
        options: What kind of gallery.
        ranks: This process among all.
        batch_size: Images per pass.
        num_workers: Processes that read photos.
        progress: Show progress.
        seconds: Between two commits.
    """

    encoder: Encoder
    folder: BuildFolder
    options: _GalleryOptions
    ranks: Ranks
    batch_size: int
    num_workers: int
    progress: bool
    seconds: float

    def __post_init__(self) -> None:
        dimensions, whiten = self.encoder.dimensions, self.options.whiten
        if whiten is not None and not 1 <= whiten <= min(dimensions.values()):
            raise RetrievalError(
                f'whitening can keep 1 to {min(dimensions.values())} dimensions of these embeddings, not {whiten}'
            )
        num_patches = self.encoder.num_patches if self.encoder.keep_patches else 0
        self.settings = ShardSettings(dimensions, self.options.metric, self.encoder.fingerprint, num_patches)

    def encode_items(self, items: Sequence[ImageItem]) -> _Share:
        """Encode this rank's share of the items, except for what some rank has encoded before."""
        share = _Share(listing=hash_content('\n'.join(item.path for item in items).encode()))
        with self._shards() as shards:
            todo = self._leave_out_known(items, range(self.ranks.rank, len(items), self.ranks.size), shards, share)
        self.ranks.wait()  # nobody reads shards any more
        stream = self.encoder.stream(items, self.batch_size, self.num_workers, todo)
        self._encode(stream, len(todo), share)
        return share

    def encode_loader(self, images: LoaderImages) -> _Share:
        """Encode the batches of a data loader."""
        share = _Share()
        with self._shards() as shards:

            def is_known(content_hash: str) -> bool:
                return bool(find_places(shards, [content_hash]))

            batches = images.batches(is_known, share.hashes)
            self._encode(self.encoder.run(batches, images.items), images.count, share)
        return share

    def finish(self, images: ItemList, share: _Share) -> EncodingReport | None:
        """Merge what all ranks have encoded; the report is rank 0's."""
        shares = self.ranks.gather(share)
        report = self._merge(images, shares) if self.ranks.is_first else None
        self.ranks.wait()
        return report

    def _leave_out_known(
        self, items: Sequence[ImageItem], positions: Sequence[int], shards: Sequence[GalleryReader], share: _Share
    ) -> list[int]:
        """Positions that have to be encoded; the hashes of the others go into the share."""
        if not any(len(shard) for shard in shards):
            return list(positions)
        with ProgressBar(len(positions), 'looking for images encoded before', self.progress) as bar:
            hashed = list(hash_items(items, positions, self.num_workers, bar))
        known = find_places(shards, [one.content_hash for one in hashed if not one.error])
        share.hashes.update((one.position, one.content_hash) for one in hashed if one.content_hash in known)
        share.errors += [
            EncodingError(one.position, items[one.position].path, one.error) for one in hashed if one.error
        ]
        return [one.position for one in hashed if not one.error and one.content_hash not in known]

    def _encode(self, stream: Iterator[Encoded], total: int | None, share: _Share) -> None:
        start = time.monotonic()
        with open_shard(self.folder.path, self.ranks.rank, self.settings) as shard:
            writer = CommitBuffer(partial(add_to_shard, shard), self.seconds)
            try:
                name = 'encoding' if self.ranks.size == 1 else f'encoding (rank 0 of {self.ranks.size})'
                with ProgressBar(total, name, self.progress) as bar:
                    for encoded in stream:
                        writer.add(encoded)
                        share.take(encoded)
                        bar.advance(len(encoded) + len(encoded.errors))
            finally:
                writer.commit()  # Ctrl-C included
        share.seconds = time.monotonic() - start

    def _merge(self, images: ItemList, shares: Sequence[_Share]) -> EncodingReport:
        if len({share.listing for share in shares}) > 1:
            raise RetrievalError('the processes found different images: let no files come or go while they encode')
        hashes = {position: value for share in shares for position, value in share.hashes.items()}
        report = EncodingReport(
            self.folder.target,
            encoded=sum(share.encoded for share in shares),
            unreadable=sorted_errors([error for share in shares for error in share.errors]),
            seconds=max(share.seconds for share in shares),
        )
        report.reused = len(hashes) - report.encoded
        if not hashes:
            raise RetrievalError(_nothing_readable(report.unreadable))
        with self._shards() as shards:
            by_hash = find_places(shards, hashes.values())
            places = {position: by_hash[value] for position, value in hashes.items()}
            with self._create(images, shards, list(places.values())) as target:
                with ProgressBar(len(places), 'merging', self.progress) as bar:
                    merge_shards(shards, images.items, places, target, self.settings, bar)
                target.compact(self.options.preset)
                report.take_gallery(target)
        self.folder.finish()
        return report

    def _create(self, images: ItemList, shards: Sequence[GalleryReader], places: Sequence[Place]) -> GalleryWriter:
        spaces, whiten = dict(self.settings.spaces), self.options.whiten
        transforms = None
        if whiten is not None:
            transforms = fit_whitening(shards, places, spaces, whiten, self.settings.metric)
            spaces = dict.fromkeys(spaces, whiten)
        return create_gallery(
            self.folder.target if self.folder.is_remote else self.folder.merged,
            spaces,
            metric=self.settings.metric,
            preset=self.options.preset,
            fingerprint=self.settings.fingerprint,
            transforms=transforms,
            memory_limit=self.options.memory_limit,
            origin=self._origin(images),
        )

    def _origin(self, images: ItemList) -> dict[str, str]:
        return dict(
            config=_absolute(str(getattr(self.encoder.config, 'filename', None) or '')),
            checkpoint=_absolute(self.encoder.checkpoint),
            root=images.root,
            patches=str(self.settings.num_patches),
        )

    @contextmanager
    def _shards(self) -> Iterator[list[GalleryReader]]:
        """All shards, to read, closed at the end."""
        with ExitStack() as stack:
            yield [stack.enter_context(shard) for shard in open_shards(self.folder.path, self.settings)]


def _nothing_readable(errors: Sequence[EncodingError]) -> str:
    if not errors:
        return 'there are no images to encode: give at least one'
    return f'none of the {len(errors)} images can be read; the first, {errors[0].path}: {errors[0].reason}'


def _absolute(file: str) -> str:
    """A path that is right from every folder."""
    return os.path.abspath(file) if file and not is_address(file) else file
