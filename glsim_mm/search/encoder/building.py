"""From images to a gallery, resumable and by several processes."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch.utils.data import DataLoader

from retrieval.errors import RetrievalError
from retrieval.vectors import METRICS

from .encoder import Encoder, read_config
from .loader_images import LoaderImages
from .location import BuildFolder
from .rank_build import GalleryOptions, RankBuild
from .ranks import Ranks, join_ranks, own_device
from .report import EncodingReport
from .shards import SECONDS_BETWEEN_COMMITS
from .sources import ItemList, dataset_items, find_items, load_dataset


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
            these (see :func:`~glsim_mm.search.encoder.sources.find_items`), or a data loader (see
            :class:`~glsim_mm.search.encoder.loader_images.LoaderImages`); None with ``dataset``.
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
    options = GalleryOptions(preset, metric, memory_limit, whiten)
    folder = BuildFolder(location)
    with join_ranks(launcher) as ranks, folder.hold(overwrite) if ranks.is_first else nullcontext():
        ranks.wait()
        _check_options(options, images, dataset, ranks)
        cfg = read_config(config)
        found = None if isinstance(images, DataLoader) else _find_images(images, dataset, cfg, root)
        encoder = Encoder(cfg, checkpoint, own_device(launcher, device), amp, spaces, keep_patches)
        build = RankBuild(encoder, folder, options, ranks, batch_size, num_workers, progress)
        build.seconds_between_commits = seconds_between_commits
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


def _check_options(options: GalleryOptions, images: Any, dataset: str | None, ranks: Ranks) -> None:
    if options.metric not in METRICS:
        raise RetrievalError(f'metric must be one of {", ".join(METRICS)}, got {options.metric!r}')
    if (images is None) == (dataset is None):
        raise RetrievalError('give either images or the name of a data set of the config')
    if isinstance(images, DataLoader) and ranks.size > 1:
        raise RetrievalError('a data loader cannot be shared among processes: give its data set instead')
