"""Say what a gallery holds: glsim info GALLERY."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(description='Say what a gallery holds and what made it')
    cli.add_gallery(parser)
    parser.add_argument('--json', action='store_true', help='print JSON')
    parser.add_argument('--id', type=int, nargs='+', default=[], help='rows to show in full')
    parser.add_argument('--verify', action='store_true', help='read every file and compare checksums')
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> cli.End:
    """Look and print."""
    from retrieval.answers import describe_gallery, format_description
    from retrieval.gallery import open_gallery

    if args.verify:
        with open_gallery(args.gallery) as gallery:
            gallery.verify()
    print(format_description(describe_gallery(args.gallery, args.id), as_json=args.json))
    if args.verify and not args.json:
        print('every file is as it was written')
    return cli.End('search', args.gallery, 'PHOTO.jpg')


if __name__ == '__main__':
    cli.run(main, parse_args(), needs_model=False)
