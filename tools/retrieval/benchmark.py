"""Measure kinds of index on made-up embeddings: glsim benchmark-index --rows 1000000."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(
        description='Measure kinds of index on made-up clustered embeddings: time to build, recall, queries per '
        'second, memory, opening; and what the engine adds to FAISS. OMP_NUM_THREADS=1 measures one thread.'
    )
    cli.add_number(parser, '--rows', 'size of the gallery', 100_000)
    cli.add_number(parser, '--dimension', 'width of the embeddings', 384)
    cli.add_number(parser, '--queries', 'searches of each index', 1000)
    parser.add_argument('--presets', nargs='+', help='kinds of index; default: all')
    cli.add_number(parser, '--batches', 'batch sizes for the cost of the engine', [1, 64, 1024], nargs='+')
    cli.add_number(parser, '--rounds', 'turns of FAISS and engine', 9)
    parser.add_argument('--seed', type=int, default=0, help='seed of the random embeddings; default: 0')
    parser.add_argument(
        '--out',
        type=cli.OutputFolder,
        default='work_dirs/index_benchmark',
        help='folder; default: work_dirs/index_benchmark',
    )
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> cli.End:
    """Measure and print."""
    from glsim_mm.analysis.index_benchmark import run_study

    for text in run_study(
        Path(args.out), args.rows, args.dimension, args.queries, args.presets, args.batches, args.rounds, args.seed
    ):
        print(text, flush=True)
    return cli.End('build', 'PHOTOS', 'CONFIG', 'CHECKPOINT', '--out', 'gallery', '--preset', 'PRESET')


if __name__ == '__main__':
    cli.run(main, parse_args(), needs_model=False)
