"""What ``tools/benchmark.py`` does: measure, tell, and write after every workload, so that nothing is lost."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ...errors import GLSimError
from .contenders import Workload
from .inference import check_names, measure_inference, selection_share
from .loading import loading_table, measure_loading
from .report import inference_table, to_json, training_table
from .training import measure_training

Tell = Callable[[str], Any]


def plan(
    models: Sequence[str], sizes: Sequence[int], batch_sizes: Sequence[int], device: str, threads: int | None
) -> list[Workload]:
    """Every combination, the smallest images first."""
    if min([*sizes, *batch_sizes]) < 1:
        raise GLSimError('sizes and batch sizes must be 1 or more')
    return [
        Workload(model, size, batch, device, threads) for model in models for size in sizes for batch in batch_sizes
    ]


def run_inference(
    works: Sequence[Workload], modes: Sequence[str], rounds: int, memory: bool, out: Path | None, tell: Tell
) -> None:
    """Measure predictions; see :func:`measure_inference`."""
    check_names(works, modes)
    rows: list = []
    for work, found in zip(works, measure_inference(works, modes, rounds, memory)):
        rows += found
        share = selection_share(work, rounds)
        tell(inference_table(found))
        tell(f'Selecting and cropping: {100 * share.median:.2f} % of the eager forward pass.\n')
        _write(out, inference_table(rows), to_json(rows))


def run_training(works: Sequence[Workload], rounds: int, memory: bool, out: Path | None, tell: Tell) -> None:
    """Measure training steps; see :func:`measure_training`."""
    check_names(works, ())
    rows: list = []
    for found in measure_training(works, rounds, memory):
        rows += found
        tell(training_table(found))
        _write(out, training_table(rows), to_json(rows))


def run_loading(
    cfg: Config,
    num_workers: Sequence[int],
    num_images: int,
    rounds: int,
    device: str,
    threads: int | None,
    out: Path | None,
    tell: Tell,
) -> None:
    """Measure a data pipeline against its model; see :func:`measure_loading`."""
    report = measure_loading(cfg, num_workers, num_images, rounds, device, threads)
    table = loading_table(report)
    tell(table)
    _write(out, table, to_json([report]))


def _write(folder: Path | None, table: str, results: dict[str, Any]) -> None:
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'results.md').write_text(table + '\n', encoding='utf-8')
        (folder / 'results.json').write_text(json.dumps(results, indent=2) + '\n', encoding='utf-8')
    except OSError as error:
        raise GLSimError(f'cannot write to {folder} ({error.strerror}); choose another --out') from error
