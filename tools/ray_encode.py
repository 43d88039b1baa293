"""Encode images on a Ray cluster, into a gallery: glsim ray-encode IMAGES CONFIG CHECKPOINT --out GALLERY."""

import argparse
import runpy
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import command_line as cli

BUILD = runpy.run_path(str(Path(__file__).resolve().parent / 'retrieval' / 'build.py'))
DESCRIPTION = """Encode images on a Ray cluster into a gallery that can be searched.

It does what glsim build does, with workers of the cluster in place of this
process: RAY_ADDRESS says which; without it, it is that of this machine, which
is started if there is none. Photos, and the model's files, must be at the same
places on all machines, or at addresses such as s3://bucket/photos; the gallery
is written here alone. Workers that die are replaced. If it is stopped, the
same command goes on from there, and glsim build can do so too."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    return BUILD['parse_args'](argv, DESCRIPTION, add_workers)


def add_workers(parser: Any) -> None:
    """Options in place of a launcher's."""
    cli.add_number(parser, '--workers', 'how many encode at a time; default: as many as the cluster has room for')
    parser.add_argument(
        '--gpus-per-worker',
        type=float,
        metavar='GPUS',
        help='0.5 lets two share a GPU; default: 1 where the cluster has GPUs, else 0',
    )


def check(args: argparse.Namespace) -> None:
    """What glsim build checks, and that Ray is there."""
    from glsim_mm.search.ray_workers import RayWorkers

    cli.needs_packages('ray', why='encoding on a cluster')
    RayWorkers(args.workers, args.gpus_per_worker)
    BUILD['check'](args)


def main(args: argparse.Namespace) -> cli.End:
    """Build and say what was done."""
    from glsim_mm.search.ray_workers import RayWorkers

    args.workers = RayWorkers(args.workers, vars(args).pop('gpus_per_worker'))
    return BUILD['main'](args)


if __name__ == '__main__':
    cli.run(main, parse_args(), check=check)
