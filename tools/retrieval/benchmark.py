"""Measure kinds of index on made-up embeddings: python tools/retrieval/benchmark.py --rows 1000000."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from command_line import at_least, run


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description='Measure kinds of index on made-up clustered embeddings: time to build, recall, queries per '
        'second, memory, opening; and what the engine adds to FAISS. OMP_NUM_THREADS=1 measures one thread.'
    )
    parser.add_argument('--rows', type=at_least(1), default=100_000, help='size of the gallery; default: 100000')
    parser.add_argument('--dimension', type=at_least(1), default=384, help='of the embeddings; default: 384')
    parser.add_argument('--queries', type=at_least(1), default=1000, help='default: 1000')
    parser.add_argument('--presets', nargs='+', help='default: all')
    parser.add_argument(
        '--batches', type=at_least(1), nargs='+', default=[1, 64, 1024], help='for the cost of the engine'
    )
    parser.add_argument('--rounds', type=at_least(1), default=9, help='turns of FAISS and engine; default: 9')
    parser.add_argument('--seed', type=int, default=0, help='of the embeddings; default: 0')
    parser.add_argument('--out', default='work_dirs/index_benchmark', help='folder; default: work_dirs/index_benchmark')
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    """Measure and print."""
    from glsim_mm.analysis.index_benchmark import run_study

    for text in run_study(
        Path(args.out), args.rows, args.dimension, args.queries, args.presets, args.batches, args.rounds, args.seed
    ):
        print(text, flush=True)


if __name__ == '__main__':
    run(main, parse_args(), needs_model=False)
