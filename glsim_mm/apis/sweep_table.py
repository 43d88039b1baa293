"""What the trials of a sweep measured, as a table with a mean and deviation over seeds."""

import csv
import io
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..engine.resumption import find_last_checkpoint
from ..errors import GLSimError
from ..output_files import write_file
from .sweep_trials import DONE, Sweep

_LOWER_IS_BETTER = ('loss', 'deviation', 'ece', 'mce', 'nll', 'brier')


@dataclass
class SettingResult:
    """What one setting reached over all of its seeds.

    >>> SettingResult({'model.neck.top_o': 8}, values=[90.0, 91.0], trials=3).mean
    90.5

    Attributes:
        settings: Values of config fields by dotted name.
        values: The metric of each finished trial.
        trials: How many trials there are.
    """

    settings: dict[str, Any]
    values: list[float]
    trials: int

    @property
    def mean(self) -> float:
        """Mean; NaN without values."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def deviation(self) -> float:
        """Standard deviation of the sample (divided by n - 1); NaN for fewer than two values."""
        return statistics.stdev(self.values) if len(self.values) > 1 else math.nan


def read_metric(folder: Path, metric: str, last: bool = False, lower_is_better: bool = False) -> float | None:
    """Read the best validation of a training from what mmengine recorded, or the last one.

    Args:
        folder: Work directory of the training, which may have been interrupted and continued.
        metric: Name, such as ``'accuracy/top1'``.

    Returns:
        None if no finite value was recorded.
    """
    by_step: dict[int, float] = {}
    for record in _records(folder):
        value = record.get(metric)
        if isinstance(value, int | float) and math.isfinite(value):
            by_step[int(record.get('step', 0))] = float(value)  # a continued training repeats steps; the later counts
    if not by_step:
        return None
    if last:
        return by_step[max(by_step)]
    return min(by_step.values()) if lower_is_better else max(by_step.values())


def gather_results(sweep: Sweep, metric: str, last: bool = False, lower_is_better: bool = False) -> list[SettingResult]:
    """Collect what finished trials measured by setting: the best mean first, settings without a result last.

    Raises:
        GLSimError: If trials are finished and none recorded the metric.
    """
    done = [sweep.folder / trial.name for trial in sweep.trials.values() if trial.status == DONE]
    values = {folder.name: read_metric(folder, metric, last, lower_is_better) for folder in done}
    if done and all(value is None for value in values.values()):
        # Names of metrics have a group, as in accuracy/top1; losses and times do not.
        recorded = {name for folder in done for record in _records(folder) for name in record if '/' in name}
        raise GLSimError(
            f'no training of {sweep.folder} recorded the metric {metric!r}, only '
            f'{", ".join(sorted(recorded)) or "nothing"}; choose a --metric of these'
        )
    rows: dict[str, SettingResult] = {}
    for trial in sweep.trials.values():
        key = json.dumps(trial.settings, sort_keys=True, default=str)
        row = rows.setdefault(key, SettingResult(trial.settings, [], 0))
        row.trials += 1
        if (value := values.get(trial.name)) is not None:
            row.values.append(value)
    sign = 1 if lower_is_better else -1
    return sorted(rows.values(), key=lambda row: (not row.values, sign * row.mean if row.values else 0.0))


def format_results_table(results: Sequence[SettingResult], metric: str) -> str:
    """Lay results out in aligned columns, in the order given, the first marked with a star as the best."""
    names = _field_names(results)
    rows = [['', *(_short(name, names) for name in names), f'mean {metric}', 'deviation', 'seeds']]
    for place, row in enumerate(results):
        cells = [str(row.settings.get(name, '-')) for name in names]
        numbers = ['-' if math.isnan(value) else f'{value:.2f}' for value in (row.mean, row.deviation)]
        star = '*' if place == 0 and row.values else ''
        rows.append([star, *cells, *numbers, f'{len(row.values)} of {row.trials}'])
    widths = [max(map(len, column)) for column in zip(*rows)]
    return '\n'.join('  '.join(cell.rjust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def write_results(sweep: Sweep, results: Sequence[SettingResult], metric: str) -> Path:
    """Write the table in full precision as ``results.csv`` in the folder of the sweep."""
    path, names = sweep.folder / 'results.csv', _field_names(results)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*names, 'metric', 'mean', 'deviation', 'finished', 'trials'])
    for row in results:
        cells = [row.settings.get(name, '') for name in names]
        writer.writerow([*cells, metric, row.mean, row.deviation, len(row.values), row.trials])
    return write_file(path, text.getvalue())


def find_best_run(sweep: Sweep, results: Sequence[SettingResult]) -> tuple[str, str]:
    """Config and checkpoint of a finished trial of the best setting, or words in the place of what is not there."""
    best = results[0].settings if results else None
    done = (sweep.folder / one.name for one in sweep.trials.values() if one.status == DONE and one.settings == best)
    folder = next(done, None)
    if folder is None:
        return 'CONFIG', 'CHECKPOINT'
    config, checkpoint = next(folder.glob('*.py'), 'CONFIG'), next(folder.glob('best_*.pth'), None)
    return str(config), str(checkpoint or find_last_checkpoint(folder) or 'CHECKPOINT')


def is_lower_better(cfg: Config, metric: str) -> bool:
    """Whether the lowest value of a metric is best, by the rule by which the config keeps its best checkpoint.

    Where ``save_best`` of the checkpoint hook does not name the metric, its name decides: losses, calibration errors
    and deviations are better low.
    """
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    given = hook.get('save_best') or [], hook.get('rule') or []
    names, rules = ([value] if isinstance(value, str) else list(value) for value in given)
    rules = rules * len(names) if len(rules) == 1 else rules
    chosen = dict(zip(names, rules)).get(metric)
    if chosen is not None:
        return chosen == 'less'
    return metric.split('/')[-1].lower().split('_')[-1] in _LOWER_IS_BETTER


def explain_values(last: bool, lower_is_better: bool) -> str:
    """Say what the numbers of the table are, in a line of at most 80 characters."""
    best = 'lowest' if lower_is_better else 'highest'
    return f'of the {"last" if last else best} validation of each training; deviation by n - 1; * {best} mean'


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in path.read_text(encoding='utf-8').splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue  # the last line of an interrupted training
            if isinstance(record, dict):
                yield record


def _field_names(results: Sequence[SettingResult]) -> list[str]:
    return list(dict.fromkeys(name for row in results for name in row.settings))


def _short(name: str, names: Sequence[str]) -> str:
    """The end of a dotted name, as long as it takes to tell it from the others."""
    parts = name.split('.')
    ends = ('.'.join(parts[-length:]) for length in range(1, len(parts)))
    return next((end for end in ends if sum(f'.{other}'.endswith(f'.{end}') for other in names) == 1), name)
