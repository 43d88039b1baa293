"""Measure how well region selectors find annotated objects: glsim selection-quality CONFIG."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(
        description='Measure how well region selectors find annotated objects, and with --recognition what the regions '
        'are worth, nothing being trained'
    )
    cli.add_config(parser, ' with boxes in its test set (with --recognition, they may be missing)')
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
        '--off-centre',
        action='store_true',
        help='shift and shrink the test photos within borders of training photos, see docs/studies/why_look_twice.md',
    )
    group = parser.add_argument_group('recognition')
    group.add_argument(
        '--recognition',
        action='store_true',
        help='encode regions too: top-1 by class means of the training split, and searches among the test photos',
    )
    group.add_argument(
        '--policy',
        nargs='+',
        action='append',
        metavar='NAME=VALUE',
        help='fields of every selector, such as coverage=0.8 margin=0.1, in place of --top-o and --box-end; may be '
        'given several times',
    )
    parser.add_argument(
        '--out-dir', type=cli.OutputFolder, help='folder for selection_quality.csv, which grows with every size'
    )
    cli.add_device(parser)
    cli.add_overrides(parser)
    args = parser.parse_args(argv)
    if args.policy and not args.recognition:
        parser.error('--policy goes with --recognition')
    if args.recognition and (args.sizes or args.out_dir):
        parser.error('--sizes and --out-dir do not go with --recognition')
    return args


def check(args: argparse.Namespace) -> None:
    """Refuse unknown selectors, and fields that nobody can read."""
    from glsim_mm.config_values import parse_options
    from glsim_mm.selectors import check_selectors

    if args.selectors:
        check_selectors(args.selectors)
    if args.policy:
        args.policy = [parse_options(words, '--policy') for words in args.policy]


def main(args: argparse.Namespace) -> cli.End:
    """Measure, print and write."""
    from glsim_mm.analysis.quality_study import format_rows, measure_selectors, write_rows
    from glsim_mm.analysis.region_choice import study_selectors as study
    from glsim_mm.apis import load_config
    from glsim_mm.selectors import SELECTORS

    rows = []
    cfg = load_config(args.config, args.cfg_options)
    names = args.selectors or list(SELECTORS)
    if args.recognition:
        policies = args.policy or [dict(top_o=top_o, box_end=args.box_end) for top_o in args.top_o]
        print(study(cfg, args.checkpoint, names, policies, args.off_centre, args.num_images, args.device))
        return cli.End('choose-region', args.config)
    settings = args.top_o, args.sizes, args.num_images, args.box_end, args.device, args.off_centre
    for row in measure_selectors(cfg, args.checkpoint, names, *settings):
        rows.append(row)
        if args.out_dir:
            write_rows(rows, args.out_dir)
    print(format_rows(rows))
    return cli.End('look', args.config, args.checkpoint or 'CHECKPOINT', '--selectors', *names)


if __name__ == '__main__':
    cli.run(main, parse_args(), check=check)
