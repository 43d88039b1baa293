"""Selection costs as a table for a terminal and as a CSV file."""

import csv
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from ..errors import GLSimError
from .selection_cost import CostRow, Spread

WAY_NAMES = {'fused': 'ours', 'published': 'published', 'whole model': '+ crop pass'}
_NOTES = {
    'none': 'no selection: a plain ViT; "published" makes the attention matrices and drops them.',
    'gls': 'the paper leaves out the additions of dot products and norms.',
    'class-attention': 'not in the paper; ours makes one row of the last layer from queries and keys.',
    'maws': 'the paper takes logits as given, and 11 of 12 layers; ours makes one row and one column of the last.',
    'rollout': 'the paper counts products of whole matrices, but not making them; ours runs one row through them.',
    'psm': 'as rollout, for every head; the paper counts overlapping patches (stride P - 4), more tokens than here.',
    'sacm': 'the paper counts overlapping patches (stride P - 4), more tokens than here, but not making the matrices.',
}
_HEAD = (
    'selector        way         time / plain pass scoring   peak  SxS         MFLOPs',
    '                            median (range)         ms    MiB alive  paper   ours',
)


def format_costs(rows: Sequence[CostRow]) -> str:
    """Lay rows out in 80 columns, one block per image and batch size, with what the counts leave out below.

    Args:
        rows: Of :func:`glsim_mm.analysis.selection_cost.measure_selection_cost`.

    Returns:
        Lines.
    """
    blocks = []
    for (size, batch, tokens), group in groupby(rows, key=lambda row: row[:3]):
        block = list(group)
        seconds = block[0].seconds
        title = f'{size} px, batch {batch}, S = {tokens} tokens'
        if seconds:
            title += f': plain pass {seconds.median:.3g} s ({seconds.low:.3g}-{seconds.high:.3g})'
        blocks.append('\n'.join([title, *_HEAD, *map(_line, block)]))
    selectors = dict.fromkeys(row.case.selector for row in rows)
    notes = [f'  {name}: {_NOTES[name]}' for name in selectors if name in _NOTES]
    return '\n\n'.join([*blocks, '\n'.join([_EXPLANATION, *_fold(notes)])])


_EXPLANATION = """\
ours: fused attention, queries and keys recorded where needed; published:
unfused attention, whole matrices and their products. Peak: beyond weights and
images.
SxS alive: attention matrices held at once, per image; a layer has one per head.
Paper: FLOPs as in arXiv 2407.12891; ours: FLOPs of this package's own way."""


def write_csv(rows: Sequence[CostRow], path: Path, setting: Mapping[str, object]) -> None:
    """Write one line per row.

    Args:
        rows: What to write.
        path: File to write.
        setting: Columns that are equal in all lines, such as model, device and versions.

    Raises:
        GLSimError: If the file cannot be written.
    """
    records = [{**_record(row), **setting} for row in rows]
    try:
        with path.open('w', newline='', encoding='utf-8') as file:
            writer = csv.DictWriter(file, fieldnames=list(records[0]))
            writer.writeheader()
            writer.writerows(records)
    except OSError as error:
        raise GLSimError(f'cannot write {path} ({error.strerror}); choose another --out-dir') from error


def make_out_dir(path: str) -> Path:
    """Make the folder for results before hours are spent on them.

    Args:
        path: Folder.

    Returns:
        The folder, to which a file can be written.

    Raises:
        GLSimError: If it cannot be made or written to.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / '.write-probe'
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise GLSimError(f'cannot write to {path} ({error.strerror}); choose another --out-dir') from error
    return folder


def _line(row: CostRow) -> str:
    memory = row.memory
    cells = [
        f'{row.case.selector:<15}',
        f'{WAY_NAMES[row.case.way]:<11}',
        f'{_range(row.ratio):<17}',
        f'{_number(row.scoring_ms.median if row.scoring_ms else None):>7}',
        f'{"-" if memory is None else round(memory.peak_bytes / 2**20):>6}',
        f'{"-" if memory is None else memory.num_matrices:>4}',
        f'{_number(row.published_mflops):>7}',
        f'{_number(row.needed_mflops):>6}',
    ]
    return ' '.join(cells)


def _range(spread: Spread | None) -> str:
    if spread is None:
        return 'too little memory'
    digits = 2 if spread.high < 10 else 1
    return '{:.{digits}f} ({:.{digits}f}-{:.{digits}f})'.format(*spread, digits=digits)


def _number(value: float | None) -> str:
    """Two digits, as the paper prints them: 0.45, 14, 8.2e3."""
    if value is None:
        return '-'
    return f'{value:.2g}'.replace('e+0', 'e').replace('e+', 'e')


def _fold(notes: Sequence[str]) -> list[str]:
    """Break notes at 80 columns."""
    import textwrap

    return [line for note in notes for line in textwrap.wrap(note, 80, initial_indent='  ', subsequent_indent='    ')]


def _record(row: CostRow) -> dict[str, object]:
    record: dict[str, object] = {
        'image_size': row.image_size,
        'batch_size': row.batch_size,
        'num_tokens': row.num_tokens,
        'selector': row.case.selector,
        'way': row.case.way,
    }
    for name, spread in (('seconds', row.seconds), ('ratio', row.ratio), ('scoring_ms', row.scoring_ms)):
        for statistic in Spread._fields:
            record[f'{name}_{statistic}'] = f'{getattr(spread, statistic):.6g}' if spread else ''
    record['peak_mib'] = '' if row.memory is None else f'{row.memory.peak_bytes / 2**20:.2f}'
    record['matrices_alive'] = '' if row.memory is None else row.memory.num_matrices
    for name in ('published_mflops', 'published_percent', 'needed_mflops', 'needed_percent'):
        value = getattr(row, name)
        record[name] = '' if value is None else f'{value:.6g}'
    return record
