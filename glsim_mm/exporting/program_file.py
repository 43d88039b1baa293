"""Programs of ``torch.export``: for Python with torch, AOTInductor and ExecuTorch."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..exported.info import METADATA_KEY, ExportedInfo
from .graph import ExportGraph


def write_program(graph: ExportGraph, example: Tensor, info: ExportedInfo, path: Path) -> None:
    """Write a program with any batch size.

    Args:
        graph: In eval mode.
        example: Pixels (2, 3, H, W); the program takes this height and width.
        info: Lies in the file beside the program.
        path: Where to.
    """
    batch = torch.export.Dim('batch', min=1, max=65_536)
    with torch.no_grad():
        program = torch.export.export(graph, (example,), dynamic_shapes=({0: batch},))
    torch.export.save(program, str(path), extra_files={METADATA_KEY: info.to_json()})


def run_program(path: Path, outputs: Sequence[str]) -> Callable[[Tensor], dict[str, Tensor]]:
    """A function from pixels to the outputs of a file that this process has just written."""
    program = torch.export.load(str(path)).module()

    @torch.no_grad()
    def run(pixels: Tensor) -> dict[str, Tensor]:
        return dict(zip(outputs, program(pixels)))

    return run
