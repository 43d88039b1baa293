"""Measure how well region selectors find annotated objects: glsim selection-quality CONFIG."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(description='Measure how well region selectors find annotated objects')
    cli.add_config(parser, ' with boxes in its test set')
    parser.add_argument('checkpoint', nargs='?', help='weights of the model; default: those its backbone starts with')
    parser.add_argument('--selectors', nargs='+', help='short names; default: all that need no training')
    cli.add_number(parser, '--top-o', 'values of O', [8], nargs='+')
    cli.add_number(parser, '--sizes', "sides of the image in pixels; default: the pipeline's", nargs='+')
    cli.add_number(parser, '--num-images', 'images spread evenly over the test set; default: all')
    parser.add_argument(
        '--box-end',
        choices=['exclusive', 'inclusive'],
        default='exclusive',
        help='is the last pixel part of a box? default: exclusive',
    )
    parser.add_argument(
        '--out-dir', type=cli.OutputFolder, help='folder for selection_quality.csv, which grows with every size'
    )
    cli.add_device(parser)
    cli.add_overrides(parser)
    return parser.parse_args(argv)


def check(args: argparse.Namespace) -> None:
    """Refuse unknown selectors."""
    from glsim_mm.selectors import check_selectors

    if args.selectors:
        check_selectors(args.selectors)


def main(args: argparse.Namespace) -> cli.End:
    """Measure, print and write."""
    from glsim_mm.analysis.quality_study import format_rows, measure_selectors, write_rows
    from glsim_mm.apis import load_config
    from glsim_mm.selectors import SELECTORS

    rows = []
    cfg = load_config(args.config, args.cfg_options)
    names = args.selectors or list(SELECTORS)
    settings = args.top_o, args.sizes, args.num_images, args.box_end, args.device
    for row in measure_selectors(cfg, args.checkpoint, names, *settings):
        rows.append(row)
        if args.out_dir:
            write_rows(rows, args.out_dir)
    print(format_rows(rows))
    return cli.End('look', args.config, args.checkpoint or 'CHECKPOINT', '--selectors', *names)


if __name__ == '__main__':
    cli.run(main, parse_args(), check=check)
