"""Does reading photos keep the model waiting? python tools/retrieval/benchmark_encoding.py CONFIG CHECKPOINT IMAGES."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from command_line import add_encoding_options, add_overrides, at_least, run


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description='Images per second of the model on batches in memory, and of encoding from files, in turn'
    )
    parser.add_argument('config', help='config file of the model')
    parser.add_argument('checkpoint', help='its weights: path or URL')
    parser.add_argument('images', nargs='+', help='folders, files, patterns')
    parser.add_argument('--num-images', type=at_least(1), help='use the first so many; default: all')
    add_encoding_options(parser)
    parser.add_argument('--rounds', type=at_least(1), default=3, help='default: 3')
    parser.add_argument('--threads', type=at_least(1), help="threads of the model on CPU; default: torch's number")
    parser.add_argument('--spaces', nargs='+', metavar='SPACE', help='default: all but concat')
    add_overrides(parser)
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    """Measure and print."""
    import torch

    from glsim_mm.analysis.encoding_speed import format_throughput, measure_throughput
    from glsim_mm.apis import load_config
    from glsim_mm.search import Encoder, find_items

    if args.threads is not None:
        torch.set_num_threads(args.threads)
    cfg = load_config(args.config, args.cfg_options)
    encoder = Encoder(cfg, args.checkpoint, args.device, args.amp, args.spaces)
    items = find_items(args.images).items[: args.num_images]
    print(format_throughput(measure_throughput(encoder, items, args.batch_size, args.num_workers, args.rounds)))


if __name__ == '__main__':
    run(main, parse_args())
