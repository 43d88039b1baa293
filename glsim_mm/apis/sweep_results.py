"""What the trials of a sweep measured, as one table."""

import csv
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..errors import GLSimError
from .sweep_plan import DONE, Sweep, Trial

_LOWER_IS_BETTER = ('loss', 'deviation', 'ece', 'mce', 'nll', 'brier')


@dataclass
class SettingResult:
    """One setting over all of its seeds.

    Attributes:
        settings: Values of config fields.
        values: The metric of each finished trial.
        trials: How many trials there are.
    """

    settings: dict[str, Any]
    values: list[float]
    trials: int

    @property
    def mean(self) -> float:
        """Mean, NaN without values."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def deviation(self) -> float:
        """Standard deviation of a sample (divided by one less than the number), NaN of fewer than two values."""
        return statistics.stdev(self.values) if len(self.values) > 1 else math.nan


def read_metric(folder: Path, metric: str, last: bool = False, lower_is_better: bool = False) -> float | None:
    """A metric of a training, from what mmengine recorded of its validations.

    Args:
        folder: Work directory of the training, which may have been interrupted and continued.
        metric: Name, such as ``'accuracy/top1'``.
        last: Of the last validation. Defaults to False, the best one.
        lower_is_better: What best means.

    Returns:
        None if no finite value was recorded.
    """
    by_step: dict[int, float] = {}
    for record in _records(folder):
        value = record.get(metric)
        if isinstance(value, int | float) and math.isfinite(value):
            by_step[int(record.get('step', 0))] = float(value)  # repeated after going on
    if not by_step:
        return None
    if last:
        return by_step[max(by_step)]
    return min(by_step.values()) if lower_is_better else max(by_step.values())


def gather_results(sweep: Sweep, metric: str, last: bool = False, lower_is_better: bool = False) -> list[SettingResult]:
    """Read what finished trials measured, by setting.

    Args:
        sweep: A sweep.
        metric: Name of the metric.
        last: See :func:`read_metric`.
        lower_is_better: See :func:`read_metric`.

    Returns:
        The best mean first; settings without a result last.

    Raises:
        GLSimError: If trials are finished and none recorded the metric.
    """
    done = [trial for trial in sweep.trials.values() if trial.status == DONE]
    values = {trial.name: read_metric(sweep.folder / trial.name, metric, last, lower_is_better) for trial in done}
    if done and all(value is None for value in values.values()):
        found = (
            ', '.join(sorted({name for trial in done for name in _recorded(sweep.folder / trial.name)})) or 'nothing'
        )
        raise GLSimError(
            f'no training of {sweep.folder} recorded the metric {metric!r}, only {found}; choose a --metric of these'
        )
    rows: dict[str, SettingResult] = {}
    for trial in sweep.trials.values():
        row = rows.setdefault(_key(trial), SettingResult(trial.settings, [], 0))
        row.trials += 1
        value = values.get(trial.name)
        if value is not None:
            row.values.append(value)
    sign = 1 if lower_is_better else -1
    return sorted(rows.values(), key=lambda row: (not row.values, sign * row.mean if row.values else 0.0))


def format_results_table(results: Sequence[SettingResult], metric: str) -> str:
    """Results as a table for people, the best marked with a star.

    Args:
        results: In the order to show.
        metric: Name of the metric.

    Returns:
        Lines with aligned columns.
    """
    names = list(dict.fromkeys(name for row in results for name in row.settings))
    header = ['', *(_short(name, names) for name in names), f'mean {metric}', 'deviation', 'seeds']
    rows = [header]
    for place, row in enumerate(results):
        cells = [str(row.settings.get(name, '-')) for name in names]
        numbers = [_number(row.mean), _number(row.deviation), f'{len(row.values)} of {row.trials}']
        rows.append(['*' if place == 0 and row.values else '', *cells, *numbers])
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    return '\n'.join('  '.join(cell.rjust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def write_results(sweep: Sweep, results: Sequence[SettingResult], metric: str) -> Path:
    """Write the table as CSV, in full precision.

    Args:
        sweep: A sweep.
        results: See :func:`gather_results`.
        metric: Name of the metric.

    Returns:
        ``results.csv`` in the folder of the sweep.

    Raises:
        GLSimError: If it cannot be written.
    """
    path = sweep.folder / 'results.csv'
    names = list(dict.fromkeys(name for row in results for name in row.settings))
    try:
        with path.open('w', newline='', encoding='utf-8') as file:
            writer = csv.writer(file)
            writer.writerow([*names, 'metric', 'mean', 'deviation', 'finished', 'trials'])
            for row in results:
                cells = [row.settings.get(name, '') for name in names]
                writer.writerow([*cells, metric, row.mean, row.deviation, len(row.values), row.trials])
    except OSError as error:
        raise GLSimError(f'{path} cannot be written ({error.strerror}); check the folder') from error
    return path


def is_lower_better(cfg: Config, metric: str) -> bool:
    """What best means for a metric, by the rule by which the config keeps its best checkpoint.

    Args:
        cfg: Config of the trainings.
        metric: Name of the metric.

    Returns:
        By ``rule`` of the checkpoint hook, if its ``save_best`` names the metric; else by the metric's name: true for
        losses, calibration errors and deviations.
    """
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    names, rules = (
        [value] if isinstance(value, str) else value or [] for value in (hook.get('save_best'), hook.get('rule'))
    )
    rules = list(rules) * len(names) if len(rules) == 1 else rules
    chosen = dict(zip(names, rules)).get(metric)
    if chosen is not None:
        return chosen == 'less'
    return metric.split('/')[-1].lower().split('_')[-1] in _LOWER_IS_BETTER


def explain_values(last: bool, lower_is_better: bool) -> str:
    """One line on what the numbers of the table are.

    Args:
        last: See :func:`read_metric`.
        lower_is_better: See :func:`read_metric`.

    Returns:
        At most 80 characters.
    """
    best = 'lowest' if lower_is_better else 'highest'
    value = 'last' if last else best
    return f'of the {value} validation of each training; deviation by n - 1; * {best} mean'


def _recorded(folder: Path) -> set[str]:
    """Names of the metrics of validations, which have a group, as in ``accuracy/top1``."""
    return {name for record in _records(folder) for name in record if '/' in name}


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in path.read_text(encoding='utf-8').splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue  # the last line of an interrupted training
            if isinstance(record, dict):
                yield record


def _key(trial: Trial) -> str:
    return json.dumps(trial.settings, sort_keys=True, default=str)


def _short(name: str, names: Sequence[str]) -> str:
    """The end of a dotted name, as long as it takes to tell it from others."""
    parts = name.split('.')
    for length in range(1, len(parts)):
        end = '.'.join(parts[-length:])
        if sum(other == end or other.endswith(f'.{end}') for other in names) == 1:
            return end
    return name


def _number(value: float) -> str:
    return '-' if math.isnan(value) else f'{value:.2f}'
