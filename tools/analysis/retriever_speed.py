"""Time FaissRetriever against mmpretrain's retriever: python tools/analysis/retriever_speed.py --batch-size 8 32."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from command_line import at_least, run


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description="Time FaissRetriever against mmpretrain's retriever on the same random embeddings, in turns"
    )
    parser.add_argument(
        '--gallery-size', type=at_least(1), default=20_000, help='images in the gallery; default: 20000'
    )
    parser.add_argument('--dimension', type=at_least(1), default=384, help='width of the embeddings; default: 384')
    parser.add_argument('--batch-size', type=at_least(1), nargs='+', default=[8], help='queries at a time; default: 8')
    parser.add_argument('--topk', type=at_least(1), default=10, help='rows that are asked for; default: 10')
    parser.add_argument('--rounds', type=at_least(1), default=5, help='counted repetitions; default: 5')
    parser.add_argument('--threads', type=at_least(1), default=1, help='threads of torch and FAISS; default: 1')
    parser.add_argument('--seed', type=int, default=0, help='of the embeddings; default: 0')
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    """Measure and print a table for each batch size."""
    from glsim_mm.analysis.retriever_speed import measure_retrievers, render_times, use_threads

    use_threads(args.threads)
    for batch_size in args.batch_size:
        times = measure_retrievers(args.gallery_size, args.dimension, batch_size, args.topk, args.rounds, args.seed)
        print(f'batches of {batch_size}\n\n{render_times(times)}\n')


if __name__ == '__main__':
    run(main, parse_args())
