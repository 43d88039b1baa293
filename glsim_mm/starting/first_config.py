"""From photos to a table with a split and a config that trains on it."""

import os
import re
import shlex
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import GLSimError
from ..images.image_files import FileFacts, Leak, UnreadableFile, examine_files, find_leaks, group_equal
from ..images.photo_folders import LeftOut
from ..images.photos import ImageItem
from ..output_files import write_file
from ..progress import ProgressBar
from ..search.exif_columns import fill_exif
from .config_text import config_text, table_text
from .observations import AUTO, Observations, find_observations, hold_out
from .own_photos import TEST, TRAIN, VAL, read_own_photos
from .recipe import Machine, Recipe, choose_encoder, choose_recipe, in_words, look_at_machine

_SEED = 0


@dataclass
class WrittenConfig:
    """What was found and written.

    Attributes:
        config: The file.
        table: The file beside it with a line for each photo.
        root: The folder of the photos, absolute.
        items: Photos that the table lists, with label and split.
        left_out: What was found besides.
        unreadable: Photos that cannot be read, which the table does not list.
        equal: Groups of photos with equal content.
        near: Groups of photos of one split that look alike.
        contradictions: Groups of photos with equal content and different labels.
        leaks: Photos of training that another split has too, by split; empty where ``init`` made the split.
        observations: What photos belong together.
        cut: Observations that lie in several splits.
        was_split: Whether the photos came with a split.
        missing: Classes that validation or test lacks, by split.
        machine: What it was chosen for.
        recipe: What was chosen.
    """

    config: Path
    table: Path
    root: str
    items: list[ImageItem]
    left_out: LeftOut
    unreadable: list[UnreadableFile]
    equal: list[list[str]]
    near: list[list[str]]
    contradictions: list[list[str]]
    leaks: dict[str, list[Leak]]
    observations: Observations
    cut: int
    was_split: bool
    machine: Machine
    recipe: Recipe
    missing: dict[str, list[str]] = field(default_factory=dict)

    @property
    def time(self) -> str:
        """How long the training takes, in words."""
        return in_words(self.recipe.seconds)


def init_config(
    photos: str | Path,
    out: str | Path | None = None,
    *,
    exclude: Sequence[str] = (),
    observations: str = AUTO,
    new_split: bool = False,
    val_share: float = 0.2,
    test_share: float = 0.0,
    encoder: str | None = None,
    size: int | None = None,
    epochs: int | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
    machine: Machine | None = None,
) -> WrittenConfig:
    """Look at photos, split them, and write a config that trains on them on this machine.

    Every photo is decoded once, to find those that cannot be read, copies and near copies. Photos stay where they are.

    Args:
        photos: See :func:`~glsim_mm.starting.own_photos.read_own_photos`.
        out: The config; the table is written beside it. Defaults to the name of the folder or table, in the current
            folder.
        exclude: Patterns of files and folders to leave out.
        observations: See :func:`~glsim_mm.starting.observations.find_observations`.
        new_split: Pass over the split that the photos come with.
        val_share: Part of the photos for validation, where there is none.
        test_share: Part for tests; without any, validation photos serve for tests too.
        encoder: One of :data:`~glsim_mm.starting.recipe.ENCODERS`. Defaults to what fits the machine.
        size: Side of the network input, in place of the chosen one.
        epochs: Passes over the training photos, in place of the chosen ones.
        workers: Threads that read photos, one per core by default.
        overwrite: Replace files that are there.
        progress: Show how many photos are read.
        machine: Choose for this one in place of the one that it runs on.

    Raises:
        UserError: If the photos, or an argument, cannot be used.
    """
    config, table = config_files(photos, out, overwrite)
    found = read_own_photos(photos, exclude, not new_split)
    machine = machine or look_at_machine()
    encoder = choose_encoder(machine, encoder)
    paths = [item.file for item in found.items]
    begin = time.perf_counter()
    with ProgressBar(len(paths), 'reading photos', progress) as bar:
        facts = examine_files(paths, True, workers, bar.update)
    reading = (time.perf_counter() - begin) / max(1, len(paths))
    unreadable = [UnreadableFile(item.path, fact.reason) for item, fact in zip(found.items, facts) if _is_bad(fact)]
    items = [item for item, fact in zip(found.items, facts) if not _is_bad(fact)]
    good = [fact for fact in facts if isinstance(fact, FileFacts)]
    if len({item.label for item in items}) < 2:
        raise GLSimError(f'{photos} has readable photos of one class only; a classifier needs two or more')
    if observations == AUTO:
        fill_exif(items, range(len(items)), workers or os.cpu_count() or 1, False)
    grouped = find_observations(items, good, observations, folders=not found.is_table)
    was_split = found.is_split
    items = _split(items, grouped.groups, val_share, test_share)
    counts = Counter(item.split for item in items)
    side = statistics.median(min(fact.size) for fact in good)
    recipe = choose_recipe(machine, counts[TRAIN], counts[VAL], encoder, size, epochs, reading, side)
    near, leaks = find_leaks(*_by_split(items, good))
    labels = {item.path: str(item.label) for item in items}
    equal = group_equal(list(labels), [fact.digest for fact in good])
    written = WrittenConfig(
        config,
        table,
        found.root,
        items,
        found.left_out,
        unreadable,
        equal,
        near,
        [group for group in equal if len({labels[path] for path in group}) > 1],
        leaks,
        grouped,
        _count_cut(items, grouped.groups),
        was_split,
        machine,
        recipe,
        _find_missing(items),
    )
    _write(written)
    return written


def config_files(photos: str | Path, out: str | Path | None, overwrite: bool) -> tuple[Path, Path]:
    """The config to write, and the table beside it.

    Raises:
        GLSimError: If one of them is there already, or the name is no config's.
    """
    name = re.sub(r'\W+', '_', Path(photos).resolve().stem).strip('_') or 'photos'
    config = Path(out or f'{name}.py').expanduser()
    if config.suffix != '.py':
        raise GLSimError(f'--out {config}: the name of a config ends in .py')
    table = config.with_name(f'{config.stem}_split.csv')
    there = next((path for path in (config, table) if path.exists()), None)
    if there is not None and not overwrite:
        raise GLSimError(f'{there} is there already: replace it with --overwrite, or choose another --out')
    if table.resolve() == Path(photos).resolve():
        raise GLSimError(f'{table} would be replaced, which lists the photos; choose another --out')
    return config, table


def _is_bad(fact: FileFacts | UnreadableFile) -> bool:
    return isinstance(fact, UnreadableFile)


def _split(items: Sequence[ImageItem], groups: Sequence[int], val_share: float, test_share: float) -> list[ImageItem]:
    """Items with a split: their own, or one that cuts no group; validation is taken from training if it is missing."""
    splits = [item.split or TRAIN for item in items]
    if all(item.split is None for item in items):
        _take(splits, items, groups, TEST, test_share)
        val_share = val_share / (1 - test_share)
    if VAL not in splits:
        _take(splits, items, groups, VAL, val_share)
    counts = Counter(splits)
    for split in (TRAIN, VAL):
        if not counts[split]:
            raise GLSimError(
                f'there is no photo for {"training" if split == TRAIN else "validation"}: each class is one '
                'observation, or has one photo; give more photos, or --observations none'
            )
    return [replace(item, split=split) for item, split in zip(items, splits)]


def _take(splits: list[str], items: Sequence[ImageItem], groups: Sequence[int], split: str, share: float) -> None:
    """Move a share of the training photos to another split, in place."""
    rows = [row for row, own in enumerate(splits) if own == TRAIN]
    taken = hold_out([str(items[row].label) for row in rows], [groups[row] for row in rows], share, _SEED)
    for position in taken:
        splits[rows[position]] = split


def _by_split(
    items: Sequence[ImageItem], facts: Sequence[FileFacts]
) -> tuple[dict[str, FileFacts], dict[str, dict[str, FileFacts]]]:
    """Facts of the training photos by path, and those of the other splits."""
    known: dict[str, dict[str, FileFacts]] = {}
    for item, fact in zip(items, facts):
        known.setdefault(str(item.split), {})[item.path] = fact
    return known.pop(TRAIN), known


def _count_cut(items: Sequence[ImageItem], groups: Sequence[int]) -> int:
    splits: dict[int, set] = {}
    for item, group in zip(items, groups):
        splits.setdefault(group, set()).add(item.split)
    return sum(len(found) > 1 for found in splits.values())


def _find_missing(items: Sequence[ImageItem]) -> dict[str, list[str]]:
    classes = sorted({str(item.label) for item in items})
    found = {}
    for split in dict.fromkeys(str(item.split) for item in items):
        there = {str(item.label) for item in items if item.split == split}
        lacking = [name for name in classes if name not in there]
        if lacking:
            found[split] = lacking
    return found


def _write(written: WrittenConfig) -> None:
    splits = Counter(item.split for item in written.items)
    classes = {item.label for item in written.items}
    text = config_text(
        shlex.quote(str(written.config)),
        f'GLSim on {len(written.items):,} photos of {len(classes):,} classes in {written.root}',
        str(written.machine),
        written.time,
        written.recipe,
        splits[TRAIN],
        len(classes),
        written.root,
        str(written.table.absolute()),
        TEST in splits,
        bool(written.missing),
        bool(written.machine.gpu),
    )
    write_file(written.table, table_text(written.items))
    write_file(written.config, text)
