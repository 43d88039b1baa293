"""Check and complete a published data set: glsim prepare NAME --root FOLDER [--download]."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(
        description='Report which files of a published data set are missing or damaged and where to get them. Exit '
        'code 0: complete; 1: incomplete; 2: mistake in the command line.'
    )
    parser.add_argument('name', nargs='?', help='for example cub; --list names all')
    parser.add_argument('--root', help='folder of the data set, the data_root of its configs')
    parser.add_argument('--download', action='store_true', help='download and unpack what is missing and has a URL')
    parser.add_argument('--images', action='store_true', help='decode every image')
    parser.add_argument('--deep', action='store_true', help='look for images with equal content')
    cli.add_number(parser, '--workers', 'threads for --images and --deep; default: one per core')
    parser.add_argument('--no-progress', action='store_true', help='no progress bar')
    parser.add_argument('--list', action='store_true', help='describe the data set, or all of them')
    args = parser.parse_args(argv)
    if not args.list and not (args.name and args.root):
        parser.error('NAME and --root are needed, or --list')
    return args


def main(args: argparse.Namespace) -> cli.End:
    """Check, complete, print."""
    from glsim_mm.datasets.preparation.completing import prepare
    from glsim_mm.datasets.preparation.folder_checks import format_report, format_set
    from glsim_mm.datasets.published_sets import PUBLISHED_SETS, find_published_set

    if args.list:
        names = [args.name] if args.name else PUBLISHED_SETS
        print('\n\n'.join(format_set(find_published_set(name)) for name in names))
        return cli.End('prepare', args.name or 'NAME', '--root', 'FOLDER')
    report = prepare(args.name, args.root, args.download, args.images, args.deep, args.workers, not args.no_progress)
    print(format_report(report))
    if not report.is_complete:
        sys.exit(1)
    return cli.End('train', f'glsim_vit_{report.published.name}')


if __name__ == '__main__':
    cli.run(main, parse_args())
