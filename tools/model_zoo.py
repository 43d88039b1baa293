"""Write docs/reference/model_zoo.md from configs/metafile.yml: python tools/model_zoo.py."""

import argparse
import sys
from collections.abc import Sequence

from command_line import ROOT, run


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(description='Write docs/reference/model_zoo.md from configs/metafile.yml')
    parser.add_argument('--check', action='store_true', help='write nothing; exit with 1 if the page is stale')
    parser.add_argument(
        '--cost', nargs='+', metavar='CONFIG', help='print the fields of the metafile that are counted, and end'
    )
    parser.add_argument('--root', default=ROOT, help='root of the project; default: where this file lies')
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    """Write, check or count."""
    from glsim_mm.analysis.model_cost import describe_cost
    from glsim_mm.apis.model_zoo import check_page, write_page

    if args.cost:
        print('\n'.join(describe_cost(path) for path in args.cost))
    elif args.check:
        problems = check_page(args.root)
        print('\n'.join(problems) or 'docs/reference/model_zoo.md is what configs/metafile.yml says')
        sys.exit(1 if problems else 0)
    else:
        print(f'wrote {write_page(args.root)}')


if __name__ == '__main__':
    run(main, parse_args())
