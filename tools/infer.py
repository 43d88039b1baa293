"""Classify images: glsim infer CONFIG CHECKPOINT INPUT [INPUT ...]."""

import argparse
import sys

import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(description='Classify images, and say where the model looked')
    cli.add_config(parser)
    parser.add_argument('checkpoint', help='checkpoint: path or URL')
    cli.add_images(parser, 'inputs')
    cli.add_prediction_options(parser)
    parser.add_argument('--show-dir', type=cli.OutputFolder, help='folder for a panel of each image')
    parser.add_argument('--show', action='store_true', help='show the panels in a window')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds to show each panel; default: 2')
    cli.add_device(parser)
    parser.add_argument('--selector', help="another selector than the config's, for example maws")
    parser.add_argument('--no-progress', action='store_true', help='no progress bar (none anyway in a terminal)')
    cli.add_overrides(parser)
    return parser.parse_args(argv)


def check(args: argparse.Namespace) -> None:
    """Refuse an unknown selector, and images none of which can be read.

    Names of classes, which other packages may register, begin with a capital.
    """
    from glsim_mm.selectors import check_selectors

    if args.selector is not None and not args.selector[:1].isupper():
        check_selectors([args.selector])
    cli.check_readable(args.inputs, args.exclude)


def main(args: argparse.Namespace) -> cli.End:
    """Classify and print a line per image."""
    from glsim_mm import apis

    images = cli.find_images(args.inputs, args.exclude)
    config = apis.load_config(args.config, args.cfg_options)
    inferencer = apis.GLSimInferencer(config, args.checkpoint, args.device, args.selector)
    pictures = dict(show=args.show, wait_time=args.wait_time, show_dir=args.show_dir, top_k=args.top_k)
    progress = not args.no_progress and not sys.stdout.isatty()  # lines of results would tear the bar
    predictions = inferencer.iterate(images, batch_size=args.batch_size, progress=progress, **pictures)
    cli.print_predictions(predictions, args.out)
    if not args.show_dir and len(args.inputs) == 1:
        return cli.End('infer', args.config, args.checkpoint, *args.inputs, '--show-dir', 'panels')
    return cli.End('build', 'PHOTOS', args.config, args.checkpoint, '--out', 'gallery')


if __name__ == '__main__':
    cli.run(main, parse_args(), check=check)
