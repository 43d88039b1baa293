"""Classify images by their neighbours in a gallery: glsim classify GALLERY IMAGE [IMAGE ...]."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description="Name the class that an image's neighbours vote for, or its group where they disagree, or unknown"
    )
    cli.add_gallery(parser)
    cli.add_images(parser)
    cli.add_gallery_model(parser)
    cli.add_number(parser, '-k', 'neighbours that vote', 10)
    parser.add_argument('--temperature', type=float, default=0.07, help='temperature of the vote; default: 0.07')
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
    cli.add_space(parser)
    cli.add_where(parser, 'rows that may vote')
    cli.add_exclude_same(parser)
    parser.add_argument('--json', action='store_true', help='print JSON in place of lines')
    cli.add_device(parser)
    args = parser.parse_args(argv)
    if args.calibrate is not None and args.threshold:
        parser.error('give either --threshold or --calibrate')
    if args.taxonomy and args.taxonomy_columns:
        parser.error('give either --taxonomy or --taxonomy-columns')
    return args


def check(args: argparse.Namespace) -> None:
    """Find mistakes in the options before the model is loaded."""
    from retrieval.gallery import open_gallery
    from retrieval.recognition import parse_target

    parse_target(args.calibrate)
    with open_gallery(args.gallery) as gallery:
        recognizer = _recognizer(args, gallery)
    cli.check_search(args, space=recognizer.space, where=recognizer.where)


def main(args: argparse.Namespace) -> cli.End:
    """Classify and print a line per image."""
    from glsim_mm.search import ImageSearch
    from retrieval.answers import shown_paths
    from retrieval.recognition import (
        calibrate,
        format_calibration,
        format_recognition,
        parse_target,
        recognition_to_json,
    )

    images = cli.find_images(args.images, args.exclude)
    target = parse_target(args.calibrate)
    with ImageSearch.open(args.gallery, args.config, args.checkpoint, device=args.device) as search:
        recognizer = _recognizer(args, search.gallery)
        if target is not None:
            levels = calibrate(recognizer, target)
            recognizer.thresholds = tuple(level.threshold for level in levels)
            sys.stderr.write(format_calibration(levels) + '\n')
        encoded = search.encoder.encode(images)
        own = None
        if args.exclude_same:
            own = search.gallery.same_content([record.content_hash for record in encoded.records])
        answers = recognizer.recognize(encoded.embeddings, own) if encoded.records else []
    paths = [record.path for record in encoded.records]
    pairs = list(zip(paths, answers))
    if args.json:
        print(json.dumps([recognition_to_json(*pair) for pair in zip(shown_paths(paths), answers)], indent=1))
    elif pairs:
        print('\n'.join(format_recognition(*pair) for pair in pairs))
    for _, path, reason in encoded.errors:
        sys.stderr.write(f'{path} cannot be read: {reason}\n')
    if not pairs:
        sys.exit(1)
    shown = args.images if len(args.images) == 1 else ['PHOTO.jpg']
    return cli.End('search', args.gallery, *shown, '--out', 'results.html')


def _recognizer(args: argparse.Namespace, gallery: Any) -> Any:
    from retrieval.gallery import parse_conditions
    from retrieval.gallery.spaces import parse_space
    from retrieval.recognition import Recognizer, read_taxonomy

    return Recognizer(
        gallery,
        args.k,
        args.temperature,
        args.threshold,
        read_taxonomy(gallery, args.taxonomy, args.taxonomy_columns),
        parse_space(args.space),
        parse_conditions(args.where),
    )


if __name__ == '__main__':
    arguments = parse_args()
    cli.run(main, arguments, needs_model=not cli.is_exported(arguments), check=check)
