"""Time FaissRetriever against mmpretrain's retriever: glsim retriever-speed --batch-size 8 32."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(
        description="Time FaissRetriever against mmpretrain's retriever on the same random embeddings, in turns"
    )
    cli.add_number(parser, '--gallery-size', 'images in the gallery', 20_000)
    cli.add_number(parser, '--dimension', 'width of the embeddings', 384)
    cli.add_number(parser, '--batch-size', 'queries at a time', [8], nargs='+')
    cli.add_number(parser, '--topk', 'rows that are asked for', 10)
    cli.add_number(parser, '--rounds', 'counted repetitions', 5)
    cli.add_number(parser, '--threads', 'threads of torch and FAISS', 1)
    parser.add_argument('--seed', type=int, default=0, help='seed of the random embeddings; default: 0')
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> cli.End:
    """Measure and print a table for each batch size."""
    from glsim_mm.analysis.retriever_speed import measure_retrievers, render_times, use_threads

    use_threads(args.threads)
    for batch_size in args.batch_size:
        times = measure_retrievers(args.gallery_size, args.dimension, batch_size, args.topk, args.rounds, args.seed)
        print(f'batches of {batch_size}\n\n{render_times(times)}\n')
    return cli.End('benchmark-index')


if __name__ == '__main__':
    cli.run(main, parse_args())
