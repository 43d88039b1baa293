"""What the command line ``tools/checkpoints.py`` does, as lines of text."""

import argparse
import json
from pathlib import Path

from mmengine.config import Config

from ..errors import GLSimError
from .conversion import Converted, convert_file
from .inspection import inspect_checkpoint
from .official_config import official_config
from .publishing import publish
from .sources import read_address

_NUM_NAMED = 8


def run_inspect(args: argparse.Namespace) -> list[str]:
    """Describe ``args.source``."""
    return inspect_checkpoint(args.source, args.layout)


def run_convert(args: argparse.Namespace) -> list[str]:
    """Write ``args.source`` under this project's names, and a config if asked for."""
    done = convert_file(
        args.source,
        args.out,
        layout=args.layout,
        img_size=_pair(args.img_size),
        mode=args.mode,
        keep_head=not args.no_head,
    )
    lines = _report(done)
    if args.config_out:
        lines.append(f'wrote {write_official_config(args.source, args.config_out, done.layout)}')
    return lines


def run_export(args: argparse.Namespace) -> list[str]:
    """Write ``args.source`` under the names of ``args.to``."""
    model = _load_config(args.config).model if args.config else None
    done = convert_file(
        args.source,
        args.out,
        to=args.to,
        layout=args.layout,
        img_size=_pair(args.img_size),
        mode=args.mode,
        keep_head=not args.no_head,
        model=model,
    )
    return _report(done)


def run_publish(args: argparse.Namespace) -> list[str]:
    """Write ``args.source`` for others."""
    metrics = _read_metrics(args.metrics) if args.metrics else None
    config = _load_config(args.config).pretty_text if args.config else None
    path = publish(args.source, args.out, args.weights, metrics, config, args.commit)
    return [f'wrote {path}']


def write_official_config(source: str, target: str | Path, layout: str = 'glsim') -> Path:
    """Write the config of one of the authors' GLSim checkpoints.

    Args:
        source: The checkpoint.
        target: ``.py`` file.
        layout: Its layout.

    Returns:
        The file.

    Raises:
        GLSimError: If the checkpoint is none of the authors', or the file cannot be written.
    """
    if layout != 'glsim':
        raise GLSimError(
            f"{source} is in {layout} layout: only the authors' GLSim checkpoints say how to build a model"
        )
    checkpoint = read_address(source)
    tensors = {name.removeprefix('model.'): tensor for name, tensor in checkpoint.tensors.items()}
    target = Path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(Config(official_config(checkpoint.settings, tensors)).pretty_text, encoding='utf-8')
    except OSError as error:
        raise GLSimError(f'{target} cannot be written ({error.strerror or error}); choose another place') from error
    return target


def _report(done: Converted) -> list[str]:
    left_out = done.left_out[:_NUM_NAMED]
    more = f' and {len(done.left_out) - _NUM_NAMED} more' if len(done.left_out) > _NUM_NAMED else ''
    lines = [f'wrote {done.file}: {done.num_tensors} tensors, read in {done.layout} layout']
    return [*lines, f'left out: {", ".join(left_out)}{more}'] if left_out else lines


def _pair(img_size: list[int] | None) -> tuple[int, int] | None:
    return None if not img_size else (img_size[0], img_size[-1])


def _load_config(path: str) -> Config:
    from ..apis import load_config

    return load_config(path)


def _read_metrics(path: str) -> dict:
    try:
        metrics = json.loads(Path(path).read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise GLSimError(
            f'metrics {path} cannot be read as JSON; write them with tools/test.py --out-item metrics'
        ) from error
    if not isinstance(metrics, dict):
        raise GLSimError(f'metrics {path} is no JSON object of names and values; write it with tools/test.py')
    return metrics
