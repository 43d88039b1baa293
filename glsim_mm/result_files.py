"""Files of test results: what they may be called, how they are read, and a short table of them; needs no model."""

import json
from collections.abc import Mapping
from pathlib import Path

from .errors import GLSimError

# Names of metrics and the columns that show them.
_COLUMNS = {
    'accuracy/top1': 'top-1 %',
    'class/mean_accuracy': 'class mean %',
    'class/deviation': 'class deviation',
}
_PICKLES = ('.pkl', '.pickle')
_SUFFIXES = {'pred': _PICKLES, 'metrics': ('.json', '.yml', '.yaml', *_PICKLES)}


def check_result_file(path: str, item: str) -> None:
    """Raise :class:`GLSimError` unless predictions (``'pred'``) or ``'metrics'`` can be written to a file so called."""
    if Path(path).suffix not in _SUFFIXES[item]:
        raise GLSimError(f'--out {path}: {item} can be written as {", ".join(_SUFFIXES[item])}; choose another name')


def check_views(tta: bool, pictures: bool, error_report: bool = False) -> None:
    """Raise :class:`GLSimError` where what the model saw of an image is to be shown, and it saw several views."""
    if tta and error_report:
        raise GLSimError('--error-report shows what the model saw of each image and cannot be combined with --tta')
    if tta and pictures:
        raise GLSimError('--tta tests several views of an image and cannot be combined with --show or --show-dir')


def read_metrics(path: str | Path) -> dict[str, float]:
    """Read the metrics that ``glsim test --out FILE.json --out-item metrics`` wrote, values by name."""
    try:
        metrics = json.loads(Path(path).read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        why = getattr(error, 'strerror', None) or error
        raise GLSimError(
            f'cannot read the metrics in {path} ({why}); write them with glsim test --out {path} --out-item metrics'
        ) from error
    if not isinstance(metrics, dict) or not all(isinstance(metrics.get(name, 0), int | float) for name in _COLUMNS):
        raise GLSimError(f'{path} holds no metrics; write them with glsim test --out-item metrics')
    return metrics


def format_results(results: Mapping[str, Mapping[str, float]], num_classes: int | None = None) -> str:
    """Accuracy, and how evenly it spreads over classes, of several models below each other (metrics by name of model).

    A metric that a model lacks is a dash. ``num_classes`` adds a line for guessing among so many classes.
    """
    rows = [['', *_COLUMNS.values()]]
    for name, metrics in results.items():
        rows.append([name, *(f'{metrics[key]:.1f}' if key in metrics else '-' for key in _COLUMNS)])
    if num_classes:
        rows.append(['guessing', f'{100 / num_classes:.1f}', *['-'] * (len(_COLUMNS) - 1)])
    widths = [max(map(len, column)) for column in zip(*rows)]
    return '\n'.join('  '.join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)
