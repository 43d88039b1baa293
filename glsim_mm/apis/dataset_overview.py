"""Overviews of the data set of a config: statistics, and a sheet of sample pictures."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mmengine import fileio
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.registry import METRICS
from PIL import Image

from ..datasets.class_mapping import find_missing, map_classes, quote_classes
from ..datasets.dataset_statistics import DatasetStatistics, collect_statistics
from ..engine.hooks.run_checks import judges_classes
from ..errors import GLSimError
from ..images.decoding import UnreadableImageError, decode_image
from ..progress import ProgressBar
from ..visualization.layout import BACKGROUND, contact_sheet, stack, text_strip
from ..visualization.panel import write_picture
from .config_errors import explain_config_errors

_UNREADABLE_COLOR = (224, 224, 224)


def build_dataset(cfg: Config, split: str = 'train') -> BaseDataset:
    """Build the data set of a split of a config, or the wrapper there, without its pipeline, for its annotations."""
    loader = cfg.get(f'{split}_dataloader')
    if not loader or 'dataset' not in loader:
        raise GLSimError(f'the config has no {split}_dataloader with a data set; choose another --split or config')
    settings = dict(loader.dataset)
    if 'pipeline' in settings:
        settings['pipeline'] = []
    sampler = dict(type='mmengine.DefaultSampler', shuffle=False)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')), explain_config_errors():
        built = Runner.build_dataloader(dict(batch_size=1, num_workers=0, sampler=sampler, dataset=settings))
    _number_classes(built.dataset, built.dataset, split)
    return built.dataset


def needs_classes(cfg: Config, split: str) -> bool:
    """Whether a split is there to judge classes, of the training split or a checkpoint, not only image search."""
    settings = cfg.get(f'{split}_evaluator') or cfg.get('test_evaluator') or []
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')), explain_config_errors():
        return judges_classes([METRICS.build(one) for one in (settings if isinstance(settings, list) else [settings])])


def _number_classes(dataset: BaseDataset, first: BaseDataset, split: str) -> None:
    """Number labels as training does: by the names of the classes of the first split."""
    metainfo = getattr(first, 'metainfo', None) or {}
    if metainfo.get('classes'):
        map_classes(dataset, metainfo, split, 'the train split', allow_missing=True)


def describe_dataset(
    cfg: Config, split: str = 'train', duplicates: bool = True, workers: int | None = None, progress: bool = True
) -> DatasetStatistics:
    """Statistics of a config's data set; see :func:`collect_statistics`. A bar shows how many images are read.

    Training images are compared with those of validation and test, all others with training images, whose split also
    numbers the classes. What stands in the way of that is among the notes.
    """
    dataset = build_dataset(cfg, split)
    others: dict[str, BaseDataset] = {}
    notes = []
    for other in ('val', 'test') if split == 'train' else ('train',):
        try:
            one = build_dataset(cfg, other) if cfg.get(f'{other}_dataloader') else None
        except GLSimError as error:
            notes.append(f'not compared with {other}: {error}')
            continue
        if one is not None and _paths(one) not in [_paths(known) for known in others.values()]:
            others[other] = one
    for first, one, name in _to_compare(dataset, split, others):
        try:
            if needs_classes(cfg, name):
                missing = find_missing(one, first.metainfo.get('classes') or (), name)
                _number_classes(one, first, name)
                notes += [f'the {name} split lacks {quote_classes(missing)} of the train split'] if missing else []
        except GLSimError as error:
            notes.append(f'other classes than those of the train split: {error}')
    with ProgressBar(len(dataset), 'reading images' if duplicates else 'reading headers', progress) as bar:
        statistics = collect_statistics(dataset, duplicates, workers, bar.update, others)
    statistics.notes = notes
    return statistics


def _to_compare(
    dataset: BaseDataset, split: str, others: dict[str, BaseDataset]
) -> Iterator[tuple[BaseDataset, BaseDataset, str]]:
    """The training split, which names the classes, and each split whose classes are compared with it, by name."""
    if split == 'train':
        yield from ((dataset, one, name) for name, one in others.items())
    elif 'train' in others:
        yield others['train'], dataset, split


def _paths(dataset: BaseDataset) -> list[str]:
    return [str(dataset.get_data_info(index).get('img_path')) for index in range(len(dataset))]


def write_sample_sheet(
    cfg: Config, path: str | Path, split: str = 'train', num_images: int = 24, seed: int = 0, side: int = 160
) -> Path:
    """Draw random images of a config's data set, from as many classes as possible, with the names of their classes.

    Args:
        path: PNG file to write.
        split: ``'train'``, ``'val'`` or ``'test'``.
        num_images: How many; all if there are fewer.
        seed: Another one chooses other images.
        side: Longest side of a picture in pixels.
    """
    dataset = build_dataset(cfg, split)
    samples = [dataset.get_data_info(index) for index in range(len(dataset))]
    if not samples:
        raise GLSimError('the data set has no image; check its paths')
    names = dataset.metainfo.get('classes') or ()
    labels = [int(np.asarray(sample.get('gt_label', 0)).flat[0]) for sample in samples]
    tiles = []
    for index in choose_samples(labels, num_images, seed):
        name = names[labels[index]] if labels[index] < len(names) else f'class {labels[index]}'
        tiles.append(stack([_thumbnail(str(samples[index]['img_path']), side), text_strip(str(name), side, 12)]))
    return write_picture(Path(path), contact_sheet(tiles, columns=max(1, round((1.5 * len(tiles)) ** 0.5))))


def choose_samples(labels: list[int], num_images: int, seed: int = 0) -> list[int]:
    """Choose random positions in ``labels``, sorted by label; a class gets a second one when all classes have one."""
    seen: dict[int, int] = defaultdict(int)
    rounds = []
    for index in np.random.default_rng(seed).permutation(len(labels)).tolist():
        rounds.append((seen[labels[index]], index))
        seen[labels[index]] += 1
    rounds.sort(key=lambda item: item[0])  # stable: the order within a round stays random
    return sorted((index for _, index in rounds[:num_images]), key=lambda index: (labels[index], index))


def _thumbnail(path: str, side: int) -> np.ndarray:
    """An image scaled into a white square, (side, side, 3) uint8 RGB; a grey square if it cannot be read."""
    try:
        image = Image.fromarray(decode_image(fileio.get(path))[:, :, ::-1])
    except (OSError, UnreadableImageError):
        grey = np.full((side, side, 3), _UNREADABLE_COLOR, np.uint8)
        caption = text_strip('unreadable', side, 12)
        grey[: len(caption)] = caption
        return grey
    scale = side / max(image.size)
    width, height = (max(1, round(length * scale)) for length in image.size)
    canvas = np.full((side, side, 3), BACKGROUND, np.uint8)
    y, x = (side - height) // 2, (side - width) // 2
    canvas[y : y + height, x : x + width] = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
    return canvas
