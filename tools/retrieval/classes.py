"""Show typical photos of each class of a gallery, and the classes like it: glsim classes GALLERY --out classes.html."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli

DESCRIPTION = """Show what an identification guide shows of each class of a gallery: its typical
photos, the classes that it may be taken for, the two photos of both that are
most alike, and how often photos of one are taken for the other when they are
left out. No model is needed."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_gallery(parser)
    parser.add_argument('--label', nargs='+', metavar='CLASS', help='classes to show; default: all')
    parser.add_argument(
        '--out',
        nargs='+',
        default=[],
        type=cli.OutputFile,
        metavar='FILE',
        help='files to write: .html with photos, .json',
    )
    cli.add_number(parser, '--prototypes', 'typical photos of each class', 4)
    cli.add_number(parser, '--nearest', 'similar classes of each class', 5)
    cli.add_root(parser, 'where the photos lie, if elsewhere than the gallery says; may be given several times')
    cli.add_space(parser)
    cli.add_where(parser, 'rows that count')
    args = parser.parse_args(argv)
    parser.check_endings(args.out, ('.html', '.json'))
    return args


def main(args: argparse.Namespace) -> cli.End:
    """Look, print, and write files."""
    from glsim_mm.output_files import write_json
    from retrieval.gallery import open_gallery, parse_conditions
    from retrieval.gallery.spaces import parse_space
    from retrieval.recognition import class_guide
    from retrieval.recognition.findings import format_guide, guide_to_json

    where, space, roots = parse_conditions(args.where), parse_space(args.space), cli.read_roots(args.root)
    written: list[str] = []
    with open_gallery(args.gallery) as gallery:
        cli.check_filter(gallery, where)
        guide = class_guide(gallery, args.label, space, where, prototypes=args.prototypes, nearest=args.nearest)
        print(format_guide(guide, gallery))
        for path in args.out:
            if path.lower().endswith('.html'):
                from glsim_mm.search.finding_pages import write_guide_page

                written += map(str, write_guide_page(guide, path, gallery, roots))
            else:
                write_json(path, guide_to_json(guide, gallery))
    if args.out or not guide:
        return cli.End('audit', args.gallery, '--out', 'audit.html', 'labels.csv', written=written)
    return cli.End('classes', args.gallery, '--out', 'classes.html')


if __name__ == '__main__':
    cli.run(main, parse_args(), needs_model=False)
