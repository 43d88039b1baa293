"""Does reading photos keep the model waiting? glsim benchmark-encoding CONFIG CHECKPOINT IMAGES."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(
        description='Measure images per second of the model on batches in memory, and of encoding from files, in turns'
    )
    cli.add_config(parser, ' of the model')
    parser.add_argument('checkpoint', help='its weights: path or URL')
    cli.add_images(parser)
    cli.add_number(parser, '--num-images', 'use the first so many; default: all')
    cli.add_encoding_options(parser)
    cli.add_number(parser, '--rounds', 'counted rounds', 3)
    cli.add_number(parser, '--threads', "threads of the model on CPU; default: torch's number")
    parser.add_argument('--spaces', nargs='+', metavar='SPACE', help='embeddings to make; default: all but concat')
    cli.add_overrides(parser)
    return parser.parse_args(argv)


def check(args: argparse.Namespace) -> None:
    """Refuse images that cannot be listed."""
    cli.check_new_images(args)


def main(args: argparse.Namespace) -> cli.End:
    """Measure and print."""
    import torch

    from glsim_mm.analysis.encoding_speed import format_throughput, measure_throughput
    from glsim_mm.apis import load_config
    from glsim_mm.search import Encoder, find_items

    if args.threads is not None:
        torch.set_num_threads(args.threads)
    cfg = load_config(args.config, args.cfg_options)
    encoder = Encoder(cfg, args.checkpoint, args.device, args.amp, args.spaces)
    items = find_items(args.images, exclude=args.exclude).items[: args.num_images]
    print(format_throughput(measure_throughput(encoder, items, args.batch_size, args.num_workers, args.rounds)))
    return cli.End('build', *args.images, args.config, args.checkpoint, '--out', 'gallery')


if __name__ == '__main__':
    cli.run(main, parse_args(), check=check)
