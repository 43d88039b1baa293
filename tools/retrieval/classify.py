"""Classify images by their neighbours in a gallery: python tools/retrieval/classify.py GALLERY IMAGE [IMAGE ...]."""

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
        description='Class of each image by a vote of its neighbours, its group where that is uncertain, or unknown'
    )
    parser.add_argument('gallery', help='folder of a gallery with labels, or milvus://HOST:PORT/COLLECTION')
    parser.add_argument('images', nargs='+', help="image files, folders, and patterns such as 'photos/**/*.jpg'")
    parser.add_argument('--config', help='config of the model; default: the one that the gallery was built with')
    parser.add_argument('--checkpoint', help='weights of the model; default: likewise')
    parser.add_argument('-k', type=int, default=10, help='neighbours that vote; default: 10')
    parser.add_argument('--temperature', type=float, default=0.07, help='of the vote; default: 0.07')
    parser.add_argument(
        '--threshold',
        type=float,
        nargs='+',
        default=[],
        help='least support of a class, of its parent and so on; what has less is unknown; default: nothing is',
    )
    parser.add_argument(
        '--calibrate',
        metavar='TARGET',
        help='choose the thresholds with held-out images and classes of the gallery: balanced, or the share of known '
        'images that may be called unknown, as 0.05',
    )
    parser.add_argument('--taxonomy', help='CSV file with a header: class, parent, grandparent, ...')
    parser.add_argument(
        '--taxonomy-columns', nargs='+', default=[], metavar='COLUMN', help='metadata columns from the parent up'
    )
    parser.add_argument('--space', help='embeddings to compare, as global, or weights as global=0.5,crop=0.5')
    parser.add_argument(
        '--where', nargs='+', default=[], metavar='CONDITION', help="rows that may vote, as split=train 'year>=2019'"
    )
    parser.add_argument('--json', action='store_true', help='print JSON in place of lines')
    parser.add_argument('--device', help='of the model, for example cpu or cuda:1; default: the GPU if there is one')
    args = parser.parse_args(argv)
    if args.calibrate is not None and args.threshold:
        parser.error('give either --threshold or --calibrate')
    if args.taxonomy and args.taxonomy_columns:
        parser.error('give either --taxonomy or --taxonomy-columns')
    return args


def main(args: argparse.Namespace) -> None:
    """Classify and print a line per image."""
    from glsim_mm.search import ImageSearch
    from retrieval.gallery import parse_conditions
    from retrieval.gallery.spaces import parse_space
    from retrieval.recognition import (
        Recognizer,
        calibrate,
        format_calibration,
        format_recognition,
        parse_target,
        read_taxonomy,
        recognition_to_json,
    )

    target = parse_target(args.calibrate)
    with ImageSearch.open(args.gallery, args.config, args.checkpoint, device=args.device) as search:
        recognizer = Recognizer(
            search.gallery,
            args.k,
            args.temperature,
            args.threshold,
            read_taxonomy(search.gallery, args.taxonomy, args.taxonomy_columns),
            parse_space(args.space),
            parse_conditions(args.where),
        )
        if target is not None:
            levels = calibrate(recognizer, target)
            recognizer.thresholds = tuple(level.threshold for level in levels)
            sys.stderr.write(format_calibration(levels) + '\n')
        encoded = search.encoder.encode(args.images)
        answers = recognizer.recognize(encoded.embeddings) if encoded.records else []
    pairs = [(record.path, answer) for record, answer in zip(encoded.records, answers)]
    if args.json:
        print(json.dumps([recognition_to_json(*pair) for pair in pairs], indent=1))
    elif pairs:
        print('\n'.join(format_recognition(*pair) for pair in pairs))
    for _, path, reason in encoded.errors:
        sys.stderr.write(f'{path} cannot be read: {reason}\n')
    if not pairs:
        sys.exit(1)


if __name__ == '__main__':
    run(main, parse_args())
