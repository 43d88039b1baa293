"""Find labels and photos of a gallery that may be wrong: glsim audit GALLERY --out audit.html labels.csv."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli

DESCRIPTION = """Find labels that the rest of the gallery contradicts, copies of a photo that
differ in label or split, classes that cannot be told apart, and odd photos.
Nothing is changed, and no model is needed. The table of --out lists the
doubtful labels with other ones: take out the lines of those that are right,
then glsim label GALLERY --table labels.csv applies the rest."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_gallery(parser)
    parser.add_argument(
        '--out',
        nargs='+',
        default=[],
        type=cli.OutputFile,
        metavar='FILE',
        help='files to write: .html with photos, .json, or a .csv table of new labels',
    )
    cli.add_number(parser, '--limit', 'findings of each kind on the pages', 200)
    cli.add_root(parser, 'where the photos lie, if elsewhere than the gallery says; may be given several times')
    cli.add_space(parser)
    cli.add_where(parser, 'audit only these rows')
    parser.add_argument(
        '--threshold',
        type=float,
        help='least similarity of near-duplicates, or the largest squared distance of l2; default: what tells '
        'copies from photos that are alike in this gallery',
    )
    trial = parser.add_argument_group('how well would it find wrong labels here')
    trial.add_argument(
        '--noise-test',
        type=float,
        metavar='SHARE',
        help='make this share of the labels wrong, as 0.05, in memory alone, and measure how many are found',
    )
    trial.add_argument(
        '--look-alike', action='store_true', help='take the wrong labels from similar classes, which is harder'
    )
    args = parser.parse_args(argv)
    parser.check_endings(args.out, ('.html', '.json', '.csv'))
    if args.look_alike and args.noise_test is None:
        parser.error('--look-alike goes with --noise-test')
    if args.noise_test is not None and args.out:
        parser.error('--noise-test writes no files: leave --out out')
    return args


def main(args: argparse.Namespace) -> cli.End:
    """Look, print, and write files; or measure."""
    from glsim_mm.output_files import write_file, write_json
    from retrieval.gallery import open_gallery, parse_conditions
    from retrieval.gallery.spaces import parse_space
    from retrieval.recognition import audit
    from retrieval.recognition.findings import audit_to_json, audit_to_table, format_audit
    from retrieval.recognition.label_noise import noise_test

    where, space, roots = parse_conditions(args.where), parse_space(args.space), cli.read_roots(args.root)
    written: list[str] = []
    with open_gallery(args.gallery) as gallery:
        cli.check_filter(gallery, where)
        if args.noise_test is not None:
            print(noise_test(gallery, args.noise_test, args.look_alike, space, where).describe())
            return cli.End('audit', args.gallery, '--out', 'audit.html', 'labels.csv')
        found = audit(gallery, space, where, threshold='auto' if args.threshold is None else args.threshold)
        print(format_audit(found, gallery))
        for path in args.out:
            kind = Path(path).suffix.lower()
            if kind == '.html':
                from glsim_mm.search.finding_pages import write_audit_page

                written += map(str, write_audit_page(found, path, gallery, roots, args.limit))
            elif kind == '.json':
                write_json(path, audit_to_json(found, gallery))
            else:
                write_file(path, audit_to_table(found, gallery))
    table = next((path for path in args.out if path.lower().endswith('.csv')), None)
    if table and found.suspects:
        return cli.End('label', args.gallery, '--table', table, '--dry-run', written=written)
    if found.suspects or found.conflicts or found.pairs or found.outliers:
        missing = [name for name in ('audit.html', 'labels.csv') if Path(name).suffix not in map(_kind, args.out)]
        if missing:
            return cli.End('audit', args.gallery, '--out', *missing, written=written)
    return cli.End('classes', args.gallery, '--out', 'classes.html', written=written)


def _kind(path: str) -> str:
    return Path(path).suffix.lower()


if __name__ == '__main__':
    cli.run(main, parse_args(), needs_model=False)
