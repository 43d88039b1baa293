"""One process's part of a build: encode its share, and on rank 0 merge all shares."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from retrieval.errors import RetrievalError
from retrieval.gallery import GalleryReader, GalleryWriter, create_gallery

from .encoded import Encoded, EncodingError
from .encoder import Encoder
from .hashing import hash_items
from .loader_images import LoaderImages
from .location import BuildFolder
from .merging import fit_whitening, merge_shards
from .photo_dataset import ImageItem
from .progress import ProgressBar
from .ranks import Ranks
from .reading import hash_content
from .report import EncodingReport, sorted_errors
from .shards import SECONDS_BETWEEN_COMMITS, Place, ShardSettings, ShardWriter, find_places, open_shard, open_shards
from .sources import ItemList, is_address


@dataclass(frozen=True)
class GalleryOptions:
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
class Share:
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


class RankBuild:
    """One rank's part of a build.

    Args:
        encoder: The model.
        folder: Where it is built.
        options: What kind of gallery.
        ranks: This process among all.
        batch_size: Images per pass.
        num_workers: Processes that read photos.
        progress: Show progress, on rank 0.

    Raises:
        RetrievalError: If the embeddings have fewer dimensions than they shall be whitened to.
    """

    def __init__(
        self,
        encoder: Encoder,
        folder: BuildFolder,
        options: GalleryOptions,
        ranks: Ranks,
        batch_size: int,
        num_workers: int,
        progress: bool,
    ) -> None:
        self.encoder = encoder
        self.folder = folder
        self.options = options
        self.ranks = ranks
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seconds_between_commits = SECONDS_BETWEEN_COMMITS
        self.progress = progress and ranks.is_first
        self.settings = ShardSettings(
            encoder.dimensions, options.metric, encoder.fingerprint, encoder.num_patches if encoder.keep_patches else 0
        )
        if options.whiten is not None:
            _check_whitening(options.whiten, encoder.dimensions)

    def encode_items(self, items: Sequence[ImageItem]) -> Share:
        """Encode this rank's share of the items, except for what some rank has encoded before."""
        share = Share(listing=hash_content('\n'.join(item.path for item in items).encode()))
        with self._shards() as shards:
            todo = self._leave_out_known(items, range(self.ranks.rank, len(items), self.ranks.size), shards, share)
        self.ranks.wait()  # nobody reads shards any more
        stream = self.encoder.stream(items, self.batch_size, self.num_workers, todo)
        self._encode(stream, len(todo), share)
        return share

    def encode_loader(self, images: LoaderImages) -> Share:
        """Encode the batches of a data loader."""
        share = Share()
        with self._shards() as shards:

            def is_known(content_hash: str) -> bool:
                return bool(find_places(shards, [content_hash]))

            batches = images.batches(is_known, share.hashes)
            self._encode(self.encoder.run(batches, images.items), images.count, share)
        return share

    def finish(self, images: ItemList, share: Share) -> EncodingReport | None:
        """Merge what all ranks have encoded; the report is rank 0's."""
        shares = self.ranks.gather(share)
        report = self._merge(images, shares) if self.ranks.is_first else None
        self.ranks.wait()
        return report

    def _leave_out_known(
        self, items: Sequence[ImageItem], positions: Sequence[int], shards: Sequence[GalleryReader], share: Share
    ) -> list[int]:
        """Positions that have to be encoded; the hashes of the others go into the share."""
        if not any(len(shard) for shard in shards):
            return list(positions)
        with ProgressBar(len(positions), 'looking for images encoded before', self.progress) as bar:
            hashed = []
            for one in hash_items(items, positions, self.num_workers):
                hashed.append(one)
                bar.advance(1)
        known = find_places(shards, [one.content_hash for one in hashed if not one.error])
        share.hashes.update((one.position, one.content_hash) for one in hashed if one.content_hash in known)
        share.errors += [
            EncodingError(one.position, items[one.position].path, one.error) for one in hashed if one.error
        ]
        return [one.position for one in hashed if not one.error and one.content_hash not in known]

    def _encode(self, stream: Iterator[Encoded], total: int | None, share: Share) -> None:
        start = time.monotonic()
        with open_shard(self.folder.path, self.ranks.rank, self.settings) as shard:
            writer = ShardWriter(shard, self.seconds_between_commits)
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

    def _merge(self, images: ItemList, shares: Sequence[Share]) -> EncodingReport:
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


def _check_whitening(dimension: int, spaces: Mapping[str, int]) -> None:
    if not 1 <= dimension <= min(spaces.values()):
        raise RetrievalError(
            f'whitening can keep 1 to {min(spaces.values())} dimensions of these embeddings, not {dimension}'
        )


def _nothing_readable(errors: Sequence[EncodingError]) -> str:
    if not errors:
        return 'there are no images to encode: give at least one'
    return f'none of the {len(errors)} images can be read; the first, {errors[0].path}: {errors[0].reason}'


def _absolute(file: str) -> str:
    """A path that is right from every folder."""
    return os.path.abspath(file) if file and not is_address(file) else file
