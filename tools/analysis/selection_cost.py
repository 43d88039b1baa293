"""Measure what selecting regions costs: python tools/analysis/selection_cost.py --sizes 224 448."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from command_line import at_least, run


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description='Measure time and peak memory of each way of selecting regions, beside what formulas count: a '
        'table, selection_cost.csv and selection_cost.png'
    )
    parser.add_argument(
        '--model', default='vit-base', help='vit-tiny, vit-small, vit-base or vit-large; default: vit-base'
    )
    parser.add_argument('--patch-size', type=at_least(1), default=16, help='side of a patch in pixels; default: 16')
    parser.add_argument('--config', help='config of a GLSimClassifier to measure instead; weights are random')
    parser.add_argument(
        '--sizes', type=at_least(1), nargs='+', default=[224, 448], help='image sides in pixels; default: 224 448'
    )
    parser.add_argument(
        '--batch-size', type=at_least(1), nargs='+', default=[1], help='images per pass, one or more; default: 1'
    )
    parser.add_argument('--selectors', nargs='+', help='names from the table; default: all')
    parser.add_argument('--repeats', type=at_least(1), default=5, help='counted passes of each; default: 5')
    parser.add_argument('--threads', type=at_least(1), help="threads on CPU; default: torch's number")
    parser.add_argument('--device', default='cpu', help='cpu or cuda; default: cpu')
    parser.add_argument('--out-dir', default='selection_cost', help='folder for the results; default: selection_cost')
    parser.add_argument('--no-plot', action='store_true', help='do not draw, matplotlib is not needed then')
    return parser.parse_args(argv)


def check(args: argparse.Namespace) -> None:
    """Refuse unknown selectors."""
    from glsim_mm.selectors import check_selectors

    if args.selectors:
        check_selectors(args.selectors)


def main(args: argparse.Namespace) -> None:
    """Measure and print."""
    from glsim_mm.analysis.selection_cost import run_study

    print(run_study(**vars(args), on_progress=lambda text: print(text, file=sys.stderr)))


if __name__ == '__main__':
    run(main, parse_args(), check=check)
