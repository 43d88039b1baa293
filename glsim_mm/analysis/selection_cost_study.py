"""The whole study behind tools/analysis/selection_cost.py: measure, write the CSV file, draw."""

import platform
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..apis.options import load_config
from ..errors import GLSimError
from .selection_cases import Passes, vit_settings
from .selection_cost import measure_selection_cost
from .selection_cost_plot import check_matplotlib, plot_costs
from .selection_cost_report import format_costs, make_out_dir, write_csv


def run_study(
    out_dir: str,
    sizes: Sequence[int] = (224, 448),
    batch_size: Sequence[int] = (1,),
    model: str = 'vit-base',
    patch_size: int = 16,
    config: str | None = None,
    selectors: Sequence[str] | None = None,
    repeats: int = 5,
    threads: int | None = None,
    device: str = 'cpu',
    no_plot: bool = False,
    on_progress: Callable[[str], Any] = lambda text: None,
) -> str:
    """Measure what selecting regions costs, write ``selection_cost.csv`` and draw ``selection_cost.png``.

    Args:
        out_dir: Folder for the results.
        sizes: Sides of square images in pixels. Defaults to 224 and 448.
        batch_size: Images per pass. Defaults to one.
        model: A name of ``GLSimViT.arch_zoo``.
        patch_size: Side of a patch in pixels.
        config: Config of a GLSimClassifier, in place of ``model`` and ``patch_size``.
        selectors: What to measure. Defaults to all.
        repeats: Counted rounds.
        threads: Threads on CPU. Defaults to torch's number.
        device: ``'cpu'`` or a CUDA device.
        no_plot: Do not draw.
        on_progress: Called with lines of text meanwhile.

    Returns:
        The table.

    Raises:
        GLSimError: If an argument does not fit, matplotlib is missing, or results cannot be written.
    """
    if torch.device(device).type == 'cuda' and not torch.cuda.is_available():
        raise GLSimError(f'--device {device}: torch sees no GPU; take --device cpu')
    if not no_plot:
        check_matplotlib()
    folder = make_out_dir(out_dir)
    settings = load_config(config).model.to_dict() if config else vit_settings(model, patch_size)
    rows = measure_selection_cost(settings, sizes, batch_size, selectors, repeats, device, threads, on_progress)
    name = config or f'{model}, patch {patch_size}'
    setting = dict(
        model=name,
        repeats=repeats,
        device=_device_name(device),
        threads=threads or torch.get_num_threads(),
        torch=torch.__version__,
    )
    write_csv(rows, folder / 'selection_cost.csv', setting)
    if not no_plot:
        plot_costs(rows, Passes(settings).shape(), folder / 'selection_cost.png', _title(setting))
    return f'{_title(setting)}\n\n{format_costs(rows)}'


def _device_name(device: str) -> str:
    if torch.device(device).type == 'cuda':
        return torch.cuda.get_device_name(device)
    return f'CPU {platform.machine()}'


def _title(setting: dict[str, object]) -> str:
    return '{model}; {device}, {threads} threads, torch {torch}; {repeats} rounds'.format(**setting)
