"""Find images that a gallery has twice: glsim duplicates GALLERY [--threshold 0.95]."""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(description='Find equal files and similar images in a gallery; nothing is removed')
    cli.add_gallery(parser)
    parser.add_argument(
        '--threshold',
        type=_number_or_auto,
        help='find similar images too: least similarity, for example 0.95, or the largest squared distance of l2; auto '
        'for what tells copies from photos that are alike in this gallery',
    )
    parser.add_argument('--space', help='embeddings to compare; default: the first')
    cli.add_where(parser, 'compare only these rows')
    parser.add_argument(
        '--decided', action='store_true', help='list groups too that people have decided about, as with glsim serve'
    )
    parser.add_argument('--json', action='store_true', help='print JSON')
    return parser.parse_args(argv)


def _number_or_auto(text: str) -> float | str:
    return text if text == 'auto' else float(text)


def main(args: argparse.Namespace) -> cli.End:
    """Find and print."""
    from retrieval.gallery import open_gallery, parse_conditions
    from retrieval.recognition import duplicates_to_json, find_duplicates, format_duplicates, near_threshold

    with open_gallery(args.gallery) as gallery:
        where = parse_conditions(args.where)
        cli.check_filter(gallery, where)
        is_auto = args.threshold == 'auto'
        threshold = near_threshold(gallery, args.space, where) if is_auto else args.threshold
        groups = find_duplicates(gallery, threshold, space=args.space, where=where, decided=args.decided)
    print(json.dumps(duplicates_to_json(groups), indent=1) if args.json else format_duplicates(groups))
    if groups:
        return cli.End('remove', args.gallery, '--id', 'ID', '--dry-run')
    return cli.End('search', args.gallery, 'PHOTO.jpg')


if __name__ == '__main__':
    cli.run(main, parse_args(), needs_model=False)
