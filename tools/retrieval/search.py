"""Search a gallery with images: python tools/retrieval/search.py GALLERY IMAGE [IMAGE ...]."""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from command_line import run

PICTURES = ('.png', '.jpg', '.jpeg', '.webp')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(description='Search a gallery with images, or with rows of its own')
    parser.add_argument('gallery', help='folder of the gallery, or milvus://HOST:PORT/COLLECTION')
    parser.add_argument('images', nargs='*', help="image files, folders, and patterns such as 'photos/**/*.jpg'")
    parser.add_argument('--id', type=int, nargs='+', default=[], help='ids of rows to search with; needs no model')
    parser.add_argument('--config', help='config of the model; default: the one that the gallery was built with')
    parser.add_argument('--checkpoint', help='its weights, or its .onnx file of tools/export.py, which needs no config')
    parser.add_argument('-k', type=int, default=10, help='hits per query; default: 10')
    parser.add_argument(
        '--box', type=float, nargs=4, metavar=('X0', 'Y0', 'X1', 'Y1'), help='part of the photo to search with, pixels'
    )
    parser.add_argument(
        '--space', help='embeddings to compare, as global, or weights as global=0.5,crop=0.5; default: the first'
    )
    parser.add_argument(
        '--where', nargs='+', default=[], metavar='CONDITION', help="filter, as label=Wren 'year>=2019' 'split in a,b'"
    )
    parser.add_argument('--rerank', metavar='METHOD', help='for example k-reciprocal, query-expansion, region')
    parser.add_argument('--depth', type=int, default=100, help='hits that --rerank looks at; default: 100')
    parser.add_argument('--rescore', type=int, help='candidates to score exactly; default: by the preset, 0: none')
    parser.add_argument(
        '--parameters',
        nargs='+',
        default=[],
        metavar='NAME=VALUE',
        help='how far an approximate index looks, as nprobe=64 or efSearch=200; default: what its build calibrated',
    )
    parser.add_argument('--json', action='store_true', help='print JSON in place of a table')
    parser.add_argument('--out', nargs='+', default=[], help='result files: .html, .json, or a picture such as .png')
    parser.add_argument('--columns', type=int, default=5, help='hits beside each other in a picture; default: 5')
    parser.add_argument('--heatmaps', action='store_true', help='similarity maps in a picture')
    parser.add_argument('--root', help='folder where relative paths begin; default: that of the build')
    parser.add_argument('--device', help='of the model, for example cpu or cuda:1; default: the GPU if there is one')
    args = parser.parse_args(argv)
    if bool(args.images) == bool(args.id):
        parser.error('give images, or ids of rows by --id')
    if min(args.k, args.depth, args.columns) < 1 or (args.rescore or 0) < 0:
        parser.error('-k, --depth and --columns must be 1 or more, --rescore 0 or more')
    if args.box and not args.images:
        parser.error('--box is a part of an image; rows of the gallery have theirs')
    unknown = [path for path in args.out if Path(path).suffix.lower() not in ('.html', '.json', *PICTURES)]
    if unknown:
        parser.error(f'--out {unknown[0]}: the name must end in .html, .json, {", ".join(PICTURES)}')
    return args


def main(args: argparse.Namespace) -> None:
    """Search, print and write."""
    from glsim_mm.search import ImageSearch
    from retrieval.answers import format_table, results_to_json
    from retrieval.gallery import parse_conditions
    from retrieval.gallery.spaces import parse_space
    from retrieval.index.effort import parse_parameters

    options = dict(
        space=parse_space(args.space),
        where=parse_conditions(args.where),
        method=args.rerank,
        depth=args.depth,
        rescore=args.rescore,
        parameters=parse_parameters(args.parameters),
    )
    model = dict(config=args.config, checkpoint=args.checkpoint, device=args.device, with_model=bool(args.images))
    with redirect_stdout(sys.stderr):  # mmengine's logger writes to standard output, which is for results
        opened = ImageSearch.open(args.gallery, **model)
    with opened as search:
        if args.images:
            results = search(args.images, args.k, box=args.box, **options)
        else:
            results = search.similar(args.id, args.k, **options)
        print(json.dumps(results_to_json(results), indent=1) if args.json else format_table(results))
        for path in args.out:
            search.write_results(results, path, args.root, args.columns, args.heatmaps)
    if all(result.error for result in results):
        sys.exit(1)


if __name__ == '__main__':
    arguments = parse_args()
    exported = (arguments.checkpoint or '').endswith('.onnx')
    run(main, arguments, needs_model=bool(arguments.images or arguments.out) and not exported)
