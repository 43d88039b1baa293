"""Find objects in photos, name and search each: glsim detect-and-search PHOTOS --config C --checkpoint K."""

import argparse
import json
import sys
from contextlib import redirect_stdout

import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(
        description='Find objects in photos with a detector of mmdet, name each with a GLSim classifier, and search '
        'for its like in a gallery'
    )
    cli.add_images(parser, 'photos')
    parser.add_argument('--config', required=True, help='config of the classifier')
    parser.add_argument('--checkpoint', required=True, help='weights of the classifier')
    parser.add_argument('--gallery', help='gallery of the same model to search in')
    detection = parser.add_argument_group('detection')
    detection.add_argument('--detector-config', help='config of a detector of mmdet')
    detection.add_argument('--detector-checkpoint', help='its weights')
    detection.add_argument('--score', type=float, help='least score of a detection; default: 0.3')
    detection.add_argument('--classes', nargs='+', help='classes of the detector, for example bird; default: all')
    cli.add_number(detection, '--max-objects', 'objects per photo; default: 100')
    detection.add_argument(
        '--box',
        type=float,
        nargs=4,
        action='append',
        metavar=('X0', 'Y0', 'X1', 'Y1'),
        help='a box in pixels of the upright photo, in place of a detector; may be repeated, for a single photo',
    )
    detection.add_argument('--margin', type=float, default=0.1, help='share of a box added at each side; default: 0.1')
    detection.add_argument('--stretch', action='store_true', help='keep boxes as they are, not extended to squares')
    cli.add_number(parser, '-k', 'hits per object', 5)
    parser.add_argument('--space', help='embeddings to compare; default: the first of the gallery')
    cli.add_where(parser, 'rows of the gallery that are searched')
    cli.add_grouping(parser)
    parser.add_argument('--no-classes', action='store_true', help='search only, for models that classify nothing')
    cli.add_number(parser, '--batch-size', 'boxes per pass of the classifier', 32)
    parser.add_argument('--json', action='store_true', help='print JSON in place of text')
    parser.add_argument('--show-dir', type=cli.OutputFolder, help='folder for photos with boxes, names and regions')
    cli.add_device(parser)
    args = parser.parse_args(argv)
    if bool(args.box) == bool(args.detector_config):
        parser.error('give a detector (--detector-config, --detector-checkpoint), or boxes (--box)')
    if args.detector_config and not args.detector_checkpoint:
        parser.error('--detector-config needs --detector-checkpoint, its weights')
    return args


def check(args: argparse.Namespace) -> None:
    """Find missing packages, galleries, spaces and columns before the models are built."""
    from retrieval.gallery import parse_conditions

    if args.detector_config:
        cli.needs_packages('mmdet', why='a detector')
    cli.check_readable(args.photos, args.exclude)
    if args.gallery:
        cli.check_search(args, space=args.space, where=parse_conditions(args.where), group_by=args.group_by)


def main(args: argparse.Namespace) -> cli.End:
    """Find, name, search, print and draw."""
    from glsim_mm.search import ObjectSearch
    from glsim_mm.search.object_search import format_objects, objects_to_json, write_pictures
    from retrieval.gallery import parse_conditions

    photos = cli.find_images(args.photos, args.exclude)
    options = dict(score_threshold=args.score, classes=args.classes, max_objects=args.max_objects)
    with redirect_stdout(sys.stderr):  # mmengine's logger writes to standard output, which is for results
        search = ObjectSearch.open(
            args.config,
            args.checkpoint,
            args.gallery,
            args.detector_config,
            args.detector_checkpoint,
            args.device,
            not args.no_classes,
            margin=args.margin,
            square=not args.stretch,
            batch_size=args.batch_size,
            **{name: value for name, value in options.items() if value is not None},
        )
        boxes = [args.box] if args.box else None
        hits = dict(where=parse_conditions(args.where), group_by=args.group_by, exclude_same=args.exclude_same)
        results = search(photos, boxes, args.k, space=args.space, **hits)
    print(json.dumps(objects_to_json(results), indent=1) if args.json else format_objects(results))
    if args.show_dir:
        write_pictures(results, args.show_dir)
    if all(result.error for result in results):
        sys.exit(1)
    if args.gallery:
        return cli.End('search', args.gallery, 'PHOTO.jpg', '--out', 'results.html')
    return cli.End('build', 'PHOTOS', args.config, args.checkpoint, '--out', 'gallery')


if __name__ == '__main__':
    cli.run(main, parse_args(), check=check)
