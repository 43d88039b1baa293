"""Measure what selecting regions costs: glsim selection-cost --sizes 224 448."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(
        description='Measure time and peak memory of each way of selecting regions, beside what formulas count: a '
        'table, selection_cost.csv and selection_cost.png'
    )
    parser.add_argument(
        '--model', default='vit-base', help='vit-tiny, vit-small, vit-base or vit-large; default: vit-base'
    )
    cli.add_number(parser, '--patch-size', 'side of a patch in pixels', 16)
    parser.add_argument('--config', help='config of a GLSimClassifier to measure instead; weights are random')
    cli.add_number(parser, '--sizes', 'image sides in pixels', [224, 448], nargs='+')
    cli.add_number(parser, '--batch-size', 'images per pass, one or more', [1], nargs='+')
    parser.add_argument('--selectors', nargs='+', help='names from the table; default: all')
    cli.add_number(parser, '--repeats', 'counted passes of each', 5)
    cli.add_number(parser, '--threads', "threads on CPU; default: torch's number")
    parser.add_argument('--device', default='cpu', help='cpu or cuda; default: cpu')
    parser.add_argument(
        '--out-dir',
        type=cli.OutputFolder,
        default='selection_cost',
        help='folder for the results; default: selection_cost',
    )
    parser.add_argument('--no-plot', action='store_true', help='do not draw, matplotlib is not needed then')
    return parser.parse_args(argv)


def check(args: argparse.Namespace) -> None:
    """Refuse unknown selectors."""
    from glsim_mm.selectors import check_selectors

    if args.selectors:
        check_selectors(args.selectors)


def main(args: argparse.Namespace) -> cli.End:
    """Measure and print."""
    from glsim_mm.analysis.selection_cost import run_study

    print(run_study(**vars(args), on_progress=lambda text: print(text, file=sys.stderr)))
    return cli.End('selection-quality', args.config or 'CONFIG')


if __name__ == '__main__':
    cli.run(main, parse_args(), check=check)
