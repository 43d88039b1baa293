"""Measure how well images are found: python tools/retrieval/evaluate.py GALLERY [--queries GALLERY2]."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from command_line import run


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description='Recall@k, R-Precision, MAP@R and mAP of the search in a gallery; each image is searched among all '
        'others unless other queries are given'
    )
    parser.add_argument('gallery', help='folder of the gallery, or milvus://HOST:PORT/COLLECTION')
    parser.add_argument('--queries', metavar='GALLERY2', help='gallery whose images are the queries')
    parser.add_argument(
        '--space', help='embeddings to compare, as global, or weights as global=0.5,crop=0.5; default: the first'
    )
    parser.add_argument('--query-space', help='embeddings of the queries, if others than --space')
    condition = dict(nargs='+', default=[], metavar='CONDITION')
    parser.add_argument(
        '--where', help="images that are searched, as label=Wren 'year>=2019'; default: all", **condition
    )
    parser.add_argument(
        '--query-where', help='images that are queries; default: those of --where, or all of --queries', **condition
    )
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
    parser.add_argument('--rerank', metavar='METHOD', help='for example k-reciprocal, query-expansion, region')
    parser.add_argument('--depth', type=int, default=100, help='hits that --rerank looks at; default: 100')
    parser.add_argument('--recall-at', type=int, nargs='+', default=[1, 2, 4, 8], metavar='K', help='default: 1 2 4 8')
    parser.add_argument('--no-map', action='store_true', help='leave out mAP, which ranks the whole gallery: faster')
    parser.add_argument('--rescore', type=int, help='candidates to score exactly; default: by the preset, 0: none')
    parser.add_argument('--by-class', type=int, default=0, metavar='N', help='list the N classes that are found worst')
    parser.add_argument('--json', metavar='FILE', help='write all numbers, and every class, to this file too')
    args = parser.parse_args(argv)
    if min(args.depth, *args.recall_at) < 1 or min(args.by_class, args.rescore or 0) < 0:
        parser.error('--depth and --recall-at must be 1 or more, --by-class and --rescore 0 or more')
    return args


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
