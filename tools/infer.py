"""Classify images: python tools/infer.py CONFIG CHECKPOINT INPUT [INPUT ...]."""

import argparse
import sys
from collections.abc import Sequence

from command_line import add_device, add_overrides, at_least, run, write_json


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(description='Classify images, and say where the model looked')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint: path or URL')
    parser.add_argument('inputs', nargs='+', help="image files, folders, and patterns such as 'photos/**/*.jpg'")
    parser.add_argument('--out', help='JSON file for the results, similarity maps among them')
    parser.add_argument('--show-dir', help='folder for a panel of each image')
    parser.add_argument('--show', action='store_true', help='show the panels in a window')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds to show each panel; default: 2')
    parser.add_argument('--batch-size', type=at_least(1), default=16, help='images per pass; default: 16')
    add_device(parser)
    parser.add_argument('--selector', help="another selector than the config's, for example maws")
    parser.add_argument(
        '--top-k', type=at_least(1), default=5, help='classes listed in --out for each image; default: 5'
    )
    parser.add_argument('--no-progress', action='store_true', help='no progress bar (none anyway in a terminal)')
    add_overrides(parser)
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    """Classify and print a line per image."""
    from glsim_mm import apis

    config = apis.load_config(args.config, args.cfg_options)
    inferencer = apis.GLSimInferencer(config, args.checkpoint, args.device, args.selector)
    pictures = dict(show=args.show, wait_time=args.wait_time, show_dir=args.show_dir, top_k=args.top_k)
    progress = not args.no_progress and not sys.stdout.isatty()  # lines of results would tear the bar
    results = []
    for result in inferencer.iterate(args.inputs, batch_size=args.batch_size, progress=progress, **pictures):
        results.append(result)
        if 'error' not in result:
            print(apis.format_prediction(result), flush=True)
    if args.out:
        write_json(args.out, apis.results_to_json(results))
    if all('error' in result for result in results):
        sys.exit(1)


if __name__ == '__main__':
    run(main, parse_args())
