"""From photos to a gallery, resumable and by several processes: each encodes its share, and the first merges all."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings
from torch.utils.data import DataLoader

from retrieval.errors import RetrievalError
from retrieval.gallery import create_gallery
from retrieval.gallery.roots import Moves
from retrieval.gallery.spaces import Spaces
from retrieval.vectors import METRICS

from ..apis.options import load_config
from ..errors import explain_missing
from ..images.photo_folders import LeftOut
from ..images.photos import ImageItem, hash_content, is_address
from ..progress import ProgressBar
from .default_space import check_metric_from, explain_default, is_computed, is_worth_learning, views_of
from .encoded import Encoded, EncodingError, EncodingReport, SourceReport, sorted_errors
from .encoder import Encoder
from .exif_columns import fill_exif
from .gallery_source import GallerySource, read_gallery_source
from .items import ItemList, check_items, common_folder, find_source, hash_items, place_items
from .loader_images import LoaderImages
from .pretrained_encoder import FrozenEncoder, frozen_settings
from .pretrained_settings import FrozenSettings
from .ranks import Ranks, join_ranks, own_device
from .ray_workers import RayPool, RayWorkers
from .shards import (
    SECONDS_BETWEEN_COMMITS,
    BuildFolder,
    CommitBuffer,
    Shards,
    ShardSettings,
    add_to_shard,
    open_shard,
)


def build_gallery(
    images: Any,
    config: str | Path | Config | None,
    checkpoint: str | Path | None,
    location: str | Path,
    *,
    encoder: str | FrozenSettings | None = None,
    dataset: str | None = None,
    source: str | Path | None = None,
    root: Moves = None,
    exclude: Sequence[str] = (),
    exif: bool = False,
    spaces: Sequence[str] | None = None,
    keep_patches: bool = False,
    preset: str | None = None,
    metric: str | None = None,
    memory_limit: int | None = None,
    whiten: int | None = None,
    metric_from: str = 'auto',
    metric_space: str | None = None,
    batch_size: int = 32,
    num_workers: int = 2,
    device: str | None = None,
    amp: bool | str = False,
    overwrite: bool = False,
    progress: bool = True,
    seconds_between_commits: float = SECONDS_BETWEEN_COMMITS,
    launcher: str = 'none',
    workers: RayWorkers | None = None,
) -> EncodingReport | None:
    """Encode images into a new gallery.

    What is encoded is kept in ``LOCATION.parts`` until the gallery is whole, and committed there every 30 seconds. A
    run that was stopped, by Ctrl-C or a kill, goes on when it is called again, also with another number of processes:
    images whose content was encoded already do not go through the model. A gallery that is to be replaced stays until
    the new one is whole.

    Args:
        images: Folder, image, glob pattern, list of files (``.txt``), table (``.csv``, ``.tsv``), data set, list of
            these (see :func:`glsim_mm.search.find_items`), or a data loader (see
            :class:`~glsim_mm.search.loader_images.LoaderImages`); None with ``dataset`` and ``source``.
        config: Config of the model; None with ``encoder``.
        checkpoint: Its weights; None with ``encoder``.
        location: Folder of the gallery, or an address such as ``milvus://...``.
        encoder: In place of config and checkpoint, a pretrained encoder as it is: its address, or what
            :func:`glsim_mm.search.frozen_settings` makes of it.
        dataset: Encode the config's own data set: ``'train'``, ``'val'`` or ``'test'``.
        source: Encode the rows of another gallery, which stays as it is and may be searched and written meanwhile. They
            keep ids, paths, labels, splits and metadata. Photos that are gone or cannot be read are left out; those
            whose content has changed are encoded as they are now. The report says which.
        root: Folder to which paths in the gallery are relative, its default root, see :class:`retrieval.gallery.Roots`.
            Defaults to that of the images. With ``source``, where photos of its roots lie now, by name.
        exclude: Patterns of files and folders to leave out, see :func:`glsim_mm.search.find_items`.
        exif: Fill ``taken``, ``camera``, ``latitude`` and ``longitude`` from the photos, unless a table has such
            columns; see :func:`glsim_mm.images.exif.read_exif`.
        spaces: See :class:`Encoder`, also for ``keep_patches``, ``device`` and ``amp``.
        preset: Kind of index, or a FAISS factory string; ``'auto'``, the default, goes by number, dimension and memory
            limit. Defaults to that of ``source``, as the metric does.
        metric: ``'cosine'``, the default, ``'ip'`` or ``'l2'``.
        memory_limit: Bytes that the index may take in memory.
        whiten: Dimension to which each space is whitened by PCA.
        metric_from: What searches compare by default. ``'labels'`` learns a metric from the labels, see
            :func:`retrieval.class_metric.learn_metric`; the report says whether held-out classes gain, and only then
            the gallery has it. ``'none'`` leaves it at the first space. ``'auto'`` is what our measurements say
            (docs/studies/experiments.md): of a pretrained encoder the sum of its spaces, with a metric from labels if
            held-out classes gain; of other models the first space. The report says why.
        metric_space: What a metric is learned of: a space, or several that are added up, as ``'global+centre'``.
            Defaults to the first space, of a pretrained encoder to all that are alike.
        batch_size: Images per pass.
        num_workers: Processes that read photos, of each rank.
        overwrite: Replace an existing gallery.
        progress: Show images per second and the time left on standard error.
        seconds_between_commits: How much work a kill may cost.
        launcher: ``'pytorch'`` under torchrun, ``'slurm'`` or ``'mpi'``: the ranks share the images, and rank 0 merges.
            All see the same file system.
        workers: In place of a launcher, workers of a Ray cluster that encode, for which this process writes.

    Returns:
        What was done by all ranks; None on others than 0.

    Raises:
        UserError: If an argument cannot be used, there is a gallery already, no image can be read, or an
            unfinished build has other settings.
    """
    own_root = None if isinstance(root, Mapping) else root
    if source is None and isinstance(root, Mapping):
        raise RetrievalError('the root of images is one folder; name roots where there is a source that has them')
    if own_root is not None and not Path(own_root).is_dir():
        raise RetrievalError(explain_missing('folder', own_root))
    folder = BuildFolder(location)
    with join_ranks(launcher) as ranks, folder.hold(overwrite) if ranks.is_first else nullcontext():
        ranks.wait()
        rows = None
        if source is not None:
            if images is not None or dataset is not None or exclude:
                raise RetrievalError(
                    'the rows of a gallery are all that is encoded: give no images, data set or exclude'
                )
            rows = read_gallery_source(source, root)
        preset = preset or (rows.manifest.preset if rows else 'auto')
        metric = metric or (rows.manifest.metric if rows else 'cosine')
        if metric not in METRICS:
            raise RetrievalError(f'metric must be one of {", ".join(METRICS)}, got {metric!r}')
        if isinstance(images, DataLoader) and exif:
            raise RetrievalError('a data loader gives no EXIF data: give its data set instead')
        if isinstance(images, DataLoader) and (ranks.size > 1 or workers is not None):
            raise RetrievalError('a data loader cannot be shared among processes: give its data set instead')
        cfg = _read_config(config, checkpoint, encoder, dataset)
        frozen = frozen_settings(encoder) if isinstance(encoder, str) else encoder
        is_loader = isinstance(images, DataLoader) and dataset is None
        left_out = LeftOut()
        if rows is not None:
            found: ItemList | None = rows.images
        else:
            found = None if is_loader else find_source(images, dataset, cfg, own_root, exclude, left_out)
        if found is not None:
            check_items(found.items)
        make: Any = (
            partial(_load_encoder, cfg, _absolute(str(checkpoint)))
            if frozen is None
            else partial(FrozenEncoder, frozen)
        )
        options: dict[str, Any] = dict(spaces=spaces, keep_patches=keep_patches)
        computing: dict[str, Any] = dict(device=own_device(launcher, device), amp=amp)
        model = make(**options, **(computing if workers is None else dict(device='cpu')))
        num_patches = model.num_patches if keep_patches else 0
        settings = ShardSettings(model.dimensions, metric, model.fingerprint, num_patches)
        narrowest = min(model.dimensions.values())
        if whiten is not None and not 1 <= whiten <= narrowest:
            raise RetrievalError(f'whitening can keep 1 to {narrowest} dimensions of these embeddings, not {whiten}')
        check_metric_from(metric_from, whiten, None if found is None else [item.label for item in found.items])
        views = views_of(model, Spaces(metric, model.dimensions, {}), metric_space)
        has_computed = is_computed(model, metric_from, whiten)
        if metric_space is not None and not has_computed:
            raise RetrievalError(
                "--metric-space goes with --metric-from labels; in Python, metric_space with metric_from='labels'"
            )
        exif_report = None
        if exif and found is not None and ranks.is_first:  # which alone writes what is known of the images
            exif_report = fill_exif(found.items, range(len(found.items)), num_workers, progress)
        build = _RankBuild(model, folder, settings, ranks, progress and ranks.is_first, seconds_between_commits)
        if found is not None:
            with (
                nullcontext(_OwnWork(model, batch_size, num_workers))
                if workers is None
                else workers.join(partial(make, **options, **computing), model.fingerprint, batch_size, num_workers)
            ) as work:
                share = build.encode_items(found.items, work)
            share.listing += rows.listing if rows is not None else ''
        else:
            loader = LoaderImages(images, model.pipeline)
            share = build.encode_loader(loader)
            found = place_items(loader.items, loader.root if own_root is None else own_root)
        shares = ranks.gather(share)
        report = (
            build.merge(found, shares, preset, memory_limit, whiten, views, metric_from if has_computed else None, rows)
            if ranks.is_first
            else None
        )
        if report is not None:
            report.left_out, report.exif = left_out, exif_report
            report.encoder = '' if frozen is None else frozen.summary()
        ranks.wait()
        return report


def _read_config(config: Any, checkpoint: Any, encoder: Any, dataset: str | None) -> Config | None:
    if encoder is None:
        if config is None or checkpoint is None:
            raise RetrievalError('give config and checkpoint of the model, or a pretrained encoder')
        return config if isinstance(config, Config) else load_config(config)
    if config is not None or checkpoint is not None:
        raise RetrievalError('give either config and checkpoint, or a pretrained encoder')
    if dataset is not None:
        raise RetrievalError('a pretrained encoder has no config with data sets: give images')
    return None


def _load_encoder(config: Config, checkpoint: str, **options: Any) -> Encoder:
    """The encoder of a config, also in a process that has not read the config itself, which imports what it names."""
    if config.get('custom_imports'):
        import_modules_from_strings(**config.custom_imports)
    return Encoder(config, checkpoint, **options)


@dataclass
class _Share:
    """What one rank did."""

    hashes: dict[int, str] = field(default_factory=dict)  # content hash of every readable image, by position
    errors: list[EncodingError] = field(default_factory=list)  # of the unreadable images
    encoded: int = 0  # images that went through the model
    seconds: float = 0.0  # spent on encoding
    listing: str = ''  # hash of the paths of all items, which must be the same in all ranks

    def take(self, encoded: Encoded) -> None:
        """Count a batch."""
        self.hashes.update(
            (int(position), str(record.content_hash)) for position, record in zip(encoded.positions, encoded.records)
        )
        self.errors += encoded.errors
        self.encoded += len(encoded)


@dataclass
class _OwnWork:
    """Encoding in this process, as :class:`~glsim_mm.search.ray_workers.RayPool` does it in others."""

    encoder: Encoder
    batch_size: int
    num_workers: int

    def encode(self, items: Sequence[ImageItem], positions: Sequence[int]) -> Iterator[Encoded]:
        """Encode the items at some positions."""
        return self.encoder.stream(items, self.batch_size, self.num_workers, positions)

    def hash_items(
        self, items: Sequence[ImageItem], positions: Sequence[int], progress: ProgressBar
    ) -> tuple[dict[int, str], list[EncodingError]]:
        """Hash the content of the items at some positions."""
        return hash_items(items, positions, self.num_workers, progress)


@dataclass
class _RankBuild:
    """One rank's part of a build."""

    encoder: Encoder
    folder: BuildFolder
    settings: ShardSettings
    ranks: Ranks
    progress: bool
    seconds: float  # between two commits

    def encode_items(self, items: Sequence[ImageItem], work: _OwnWork | RayPool) -> _Share:
        """Encode this rank's share of the items, except for what some rank has encoded before."""
        share = _Share(listing=hash_content('\n'.join(item.path for item in items).encode()))
        positions = range(self.ranks.rank, len(items), self.ranks.size)
        with Shards(self.folder.path, self.settings) as shards:
            todo = self._leave_out_known(items, positions, shards, share, work)
        self.ranks.wait()  # until then, other ranks read the shards
        self._encode(work.encode(items, todo), len(todo), share)
        return share

    def encode_loader(self, images: LoaderImages) -> _Share:
        """Encode the batches of a data loader."""
        share = _Share()
        with Shards(self.folder.path, self.settings) as shards:
            batches = images.batches(lambda content_hash: bool(shards.find([content_hash])), share.hashes)
            self._encode(self.encoder.run(batches, images.items), images.count, share)
        return share

    def _leave_out_known(
        self,
        items: Sequence[ImageItem],
        positions: Sequence[int],
        shards: Shards,
        share: _Share,
        work: _OwnWork | RayPool,
    ) -> list[int]:
        """Positions that have to be encoded; the hashes of the others go into the share."""
        if not len(shards):
            return list(positions)
        with ProgressBar(len(positions), 'looking for images encoded before', self.progress) as bar:
            hashes, errors = work.hash_items(items, positions, bar)
        known = shards.find(hashes.values())
        share.hashes.update((position, value) for position, value in hashes.items() if value in known)
        share.errors += errors
        return [position for position, value in hashes.items() if value not in known]

    def _encode(self, stream: Iterator[Encoded], total: int | None, share: _Share) -> None:
        start = time.monotonic()
        with open_shard(self.folder.path, self.ranks.rank, self.settings) as shard:
            writer = CommitBuffer(partial(add_to_shard, shard), self.seconds)
            name = 'encoding' if self.ranks.size == 1 else f'encoding (rank 0 of {self.ranks.size})'
            with ProgressBar(total, name, self.progress) as bar:

                def note(encoded: Encoded) -> None:
                    share.take(encoded)
                    bar.advance(len(encoded) + len(encoded.errors))

                writer.take_all(stream, note)
        share.seconds = time.monotonic() - start

    def merge(
        self,
        images: ItemList,
        shares: Sequence[_Share],
        preset: str,
        memory_limit: int | None,
        whiten: int | None,
        views: Sequence[str],
        metric_from: str | None,
        rows: GallerySource | None = None,
    ) -> EncodingReport:
        """Make the gallery of what all ranks have encoded; of ``rows`` it keeps the ids."""
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
        if rows is not None:
            report.source = _compare(rows, hashes, report.unreadable)
        if not hashes:
            errors = report.unreadable
            if not errors:
                raise RetrievalError('there are no images to encode: give at least one')
            first = f'the first, {errors[0].path}: {errors[0].reason}'
            raise RetrievalError(f'none of the {len(errors)} images can be read; {first}')
        settings = self.settings
        with Shards(self.folder.path, settings) as shards:
            by_hash = shards.find(hashes.values())
            places = {position: by_hash[value] for position, value in hashes.items()}
            spaces, transforms = settings.spaces, None
            if whiten is not None:
                spaces = dict.fromkeys(spaces, whiten)
                transforms = shards.fit_whitening(list(places.values()), whiten)
            learned = None
            if metric_from is not None:
                learn = is_worth_learning([images.items[position].label for position in places], metric_from)
                report.learned, learned = shards.learn_metric(images.items, places, views, learn, self.encoder.adds_up)
            if learned is not None:
                spaces = {learned.space: learned.transform.output_dimension, **spaces}
                transforms = {learned.space: learned.transform}
            report.searched = explain_default(self.encoder, next(iter(spaces)), views, learned, list(spaces))
            with create_gallery(
                self.folder.target if self.folder.is_remote else self.folder.merged,
                spaces,
                metric=settings.metric,
                preset=preset,
                fingerprint=settings.fingerprint,
                transforms=transforms,
                memory_limit=memory_limit,
                origin=dict(
                    encoder=self.encoder.settings.to_json() if isinstance(self.encoder, FrozenEncoder) else '',
                    config=_absolute(str(getattr(self.encoder.config, 'filename', None) or '')),
                    checkpoint=_absolute(self.encoder.checkpoint),
                    **images.roots.to_origin(),
                    sources=json.dumps(images.sources) if images.sources else '',
                    photos=_photo_folder(images) if rows is None else rows.manifest.origin.get('photos', ''),
                    exclude=json.dumps(images.exclude) if images.exclude else '',
                    patches=str(settings.num_patches),
                ),
            ) as target:
                with ProgressBar(len(places), 'merging', self.progress) as bar:
                    shards.merge(target, images.items, places, bar, None if rows is None else rows.ids)
                if rows is not None:
                    target.copy_history(rows.history)
                target.compact(preset)
                report.take_gallery(target)
        if rows is not None and report.source is not None:
            report.source.is_outdated = rows.has_changed()
        self.folder.finish()
        return report


def _compare(rows: GallerySource, hashes: Mapping[int, str], errors: Sequence[EncodingError]) -> SourceReport:
    """What has become of the photos of a gallery."""
    items = rows.images.items
    files = {error.position: items[error.position].file for error in errors}
    gone = [position for position, file in files.items() if not is_address(file) and not os.path.exists(file)]
    changed = [position for position, value in sorted(hashes.items()) if rows.hashes[position] not in (None, value)]
    return SourceReport(len(items), len(gone), [items[position].path for position in changed])


def _photo_folder(images: ItemList) -> str:
    """The innermost folder that holds all photos of a list or table, which may lie elsewhere."""
    return '' if all(map(os.path.isdir, images.sources)) else common_folder(images.items)


def _absolute(file: str) -> str:
    """A path that is right from every folder."""
    return os.path.abspath(file) if file and not is_address(file) else file
