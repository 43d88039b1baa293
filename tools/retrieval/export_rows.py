"""Write rows of a gallery for others: glsim export-rows GALLERY --out rows.csv [--where label=Wren]."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(
        description='Write rows of a gallery as .csv for spreadsheets and glsim label, as .json, as .html with the '
        'photos, as annotations for detectors (coco), or as a table that TableDataset trains on (table). No model is '
        'needed.'
    )
    cli.add_gallery(parser)
    parser.add_argument('--out', required=True, type=cli.OutputFile, metavar='FILE', help='.csv, .json or .html')
    parser.add_argument('--format', choices=('coco', 'table'), help='what a .json or .csv file is to be')
    cli.add_where(parser, 'rows to write')
    cli.add_root(parser, 'where the photos lie, if elsewhere than the gallery says; may be given several times')
    args = parser.parse_args(argv)
    parser.check_endings(
        [args.out], {'coco': ['.json'], 'table': ['.csv'], None: ['.csv', '.json', '.html']}[args.format]
    )
    args.format = args.format or Path(args.out).suffix.lower()[1:]
    return args


def main(args: argparse.Namespace) -> cli.End:
    """Choose rows and write them."""
    from glsim_mm.output_files import write_pieces
    from glsim_mm.search.result_pages import found_image
    from glsim_mm.search.row_exports import HTML, export_page, export_rows
    from retrieval.gallery import Roots, open_gallery, parse_conditions

    where = parse_conditions(args.where)
    with open_gallery(args.gallery) as gallery:
        cli.check_filter(gallery, where)
        ids = gallery.ids(where)
        if args.format == HTML:
            roots = Roots.of(gallery.manifest.origin).moved(cli.read_roots(args.root))
            pieces = export_page(gallery, ids, lambda record: found_image(record, roots))
        else:
            pieces = (one.encode('utf-8', 'backslashreplace') for one in export_rows(gallery, ids, args.format))
        write_pieces(args.out, pieces)
    if args.format == 'csv':
        return cli.End('label', args.gallery, '--table', args.out, '--dry-run')
    return cli.End('search', args.gallery, 'PHOTO.jpg')


if __name__ == '__main__':
    cli.run(main, parse_args(), needs_model=False)
