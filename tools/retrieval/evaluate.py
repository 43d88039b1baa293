"""Measure how well images are found: python tools/retrieval/evaluate.py GALLERY [--queries GALLERY2]."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from command_line import add_gallery, add_ranking_options, add_space, add_where, at_least, run


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description='Recall@k, R-Precision, MAP@R and mAP of the search in a gallery; each image is searched among all '
        'others unless other queries are given'
    )
    add_gallery(parser)
    parser.add_argument('--queries', metavar='GALLERY2', help='gallery whose images are the queries')
    add_space(parser)
    parser.add_argument('--query-space', help='embeddings of the queries, if others than --space')
    add_where(parser, 'images that are searched; default: all')
    add_where(parser, 'images that are queries; default: those of --where, or all of --queries', '--query-where')
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
    add_ranking_options(parser)
    parser.add_argument(
        '--recall-at', type=at_least(1), nargs='+', default=[1, 2, 4, 8], metavar='K', help='default: 1 2 4 8'
    )
    parser.add_argument('--no-map', action='store_true', help='leave out mAP, which ranks the whole gallery: faster')
    parser.add_argument(
        '--by-class', type=at_least(0), default=0, metavar='N', help='list the N classes that are found worst'
    )
    parser.add_argument('--json', metavar='FILE', help='write all numbers, and every class, to this file too')
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    """Measure, print and write."""
    from retrieval.evaluation import evaluate_locations, format_report
    from retrieval.gallery import parse_conditions
    from retrieval.gallery.spaces import parse_space

    report = evaluate_locations(
        args.gallery,
        args.queries,
        unseen=args.unseen,
        space=parse_space(args.space),
        query_space=args.query_space,
        where=parse_conditions(args.where) or None,
        query_where=parse_conditions(args.query_where) or None,
        label=args.label,
        method=args.rerank,
        depth=args.depth,
        ks=args.recall_at,
        whole_ranking=not args.no_map,
        rescore=args.rescore,
    )
    print(format_report(report, args.by_class))
    if args.json:
        Path(args.json).write_text(json.dumps(report.to_json(), indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__':
    run(main, parse_args(), needs_model=False)
