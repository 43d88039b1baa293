"""Measurements of speed as tables and JSON."""

import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from ...exporting.file_formats import package_versions
from .inference import InferenceRow
from .timing import Spread
from .training import TrainingRow


def inference_table(rows: Sequence[InferenceRow]) -> str:
    """A table in Markdown, one line per way of computing.

    Args:
        rows: Of :func:`measure_inference`.

    Returns:
        Ratios with the tenth and ninth tenth of the rounds in brackets.
    """
    lines = [
        '| model | px | batch | mode | images/s | p50 ms | p99 ms | x plain | x straightforward | x eager | GFLOPs '
        '| of peak | MiB |',
        '| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |',
    ]
    for row in rows:
        lines.append(
            f'| {row.model} | {row.image_size} | {row.batch_size} | {row.mode} | {row.images_per_second:.2f} | '
            f'{row.p50:.0f} | {row.p99:.0f} | {_ratio(row.vs_plain)} | {_ratio(row.vs_straightforward)} | '
            f'{_ratio(row.vs_eager)} | {row.gflops:.1f} | {100 * row.peak_share:.0f} % | {_mib(row.memory_mib)} |'
        )
    return '\n'.join(lines)


def training_table(rows: Sequence[TrainingRow]) -> str:
    """A table in Markdown, one line per way of training; see :func:`inference_table`."""
    lines = [
        '| model | px | batch | step | ms | x plain | x straightforward | MiB |',
        '| --- | --- | --- | --- | --- | --- | --- | --- |',
    ]
    for row in rows:
        lines.append(
            f'| {row.model} | {row.image_size} | {row.batch_size} | {row.name} | {1e3 * row.seconds.median:.0f} | '
            f'{_ratio(row.vs_plain)} | {_ratio(row.vs_straightforward)} | {_mib(row.memory_mib)} |'
        )
    return '\n'.join(lines)


def to_json(rows: Sequence[Any]) -> dict[str, Any]:
    """Rows and where they were measured, as plain values.

    Args:
        rows: Dataclasses of this package.

    Returns:
        ``machine`` and ``rows``.
    """
    return dict(machine=describe_machine(), rows=[_plain(asdict(row)) for row in rows])


def describe_machine() -> dict[str, Any]:
    """Processor architecture, threads, GPU and versions."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return dict(
        machine=platform.machine(),
        system=platform.system(),
        python=platform.python_version(),
        threads=torch.get_num_threads(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        gpu=gpu,
        versions=package_versions(),
    )


def _ratio(value: Spread) -> str:
    return f'{value.median:.2f} ({value.low:.2f}-{value.high:.2f})'


def _mib(value: float | None) -> str:
    return '' if value is None else f'{value:.0f}'


def _plain(value: Any) -> Any:
    """Spreads, which ``asdict`` leaves as tuples, by their names."""
    if isinstance(value, Spread):
        return value._asdict()
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
