"""Measure how well images are found: glsim evaluate GALLERY [--queries GALLERY2]."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(
        description='Recall@k, R-Precision, MAP@R and mAP of the search in a gallery; each image is searched among all '
        'others unless other queries are given'
    )
    cli.add_gallery(parser)
    parser.add_argument('--queries', metavar='GALLERY2', help='gallery whose images are the queries')
    cli.add_space(parser)
    parser.add_argument('--query-space', help='embeddings of the queries, if others than --space')
    cli.add_where(parser, 'images that are searched')
    cli.add_where(parser, 'images that are queries; default: those of --where, or all of --queries', '--query-where')
    parser.add_argument(
        '--unseen',
        type=int,
        nargs='?',
        const=-1,
        metavar='N',
        help='only classes after the first N in the order of their names, or after the first half: the class-disjoint '
        'protocol',
    )
    parser.add_argument('--label', default='label', metavar='COLUMN', help='column with the classes; default: label')
    cli.add_ranking_options(parser)
    cli.add_number(parser, '--recall-at', 'hits among which one must be right', [1, 2, 4, 8], nargs='+', metavar='K')
    cli.add_exclude_same(parser)
    cli.add_index_device(parser)
    parser.add_argument('--no-map', action='store_true', help='leave out mAP, which ranks the whole gallery: faster')
    cli.add_number(parser, '--by-class', 'list the N classes that are found worst', 0, least=0, metavar='N')
    parser.add_argument(
        '--json', type=cli.OutputFile, metavar='FILE', help='write all numbers, and every class, to this file too'
    )
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> cli.End:
    """Measure, print and write."""
    from glsim_mm.output_files import write_json
    from retrieval.evaluation import evaluate_locations, format_report
    from retrieval.gallery import parse_conditions
    from retrieval.gallery.spaces import parse_space
    from retrieval.ranking import parse_options

    report = evaluate_locations(
        args.gallery,
        args.queries,
        unseen=args.unseen,
        index_device=args.index_device,
        space=parse_space(args.space),
        query_space=args.query_space,
        where=parse_conditions(args.where) or None,
        query_where=parse_conditions(args.query_where) or None,
        label=args.label,
        method=args.rerank,
        method_options=parse_options(args.rerank, args.rerank_options),
        depth=args.depth,
        ks=args.recall_at,
        whole_ranking=not args.no_map,
        exclude_same=args.exclude_same,
        rescore=args.rescore,
    )
    print(format_report(report, args.by_class))
    if args.json:
        write_json(args.json, report.to_json())
    if args.by_class:
        return cli.End('search', args.gallery, 'PHOTO.jpg', '--out', 'results.html')
    return cli.End('evaluate', args.gallery, '--by-class', '5')


if __name__ == '__main__':
    cli.run(main, parse_args(), needs_model=False)
