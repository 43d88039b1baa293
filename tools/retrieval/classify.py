"""Say what photos show, by the photos in a gallery: glsim classify GALLERY PHOTO [PHOTO ...]."""

import argparse
import json
import math
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli

DESCRIPTION = """Say what photos show, by the labelled photos in a gallery: a class and how
sure that is, a group where the class is uncertain, or that it is unlike
anything in the gallery. --tune finds out how the gallery recognises best, and
what its answers are worth, by leaving out its own photos in turn; it needs no
model, and its result stays in the gallery."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_gallery(parser)
    cli.add_images(parser, nargs='*')
    cli.add_gallery_model(parser)
    parser.add_argument('--tune', action='store_true', help='find out how the gallery recognises best, and keep it')
    parser.add_argument(
        '--accept',
        type=float,
        metavar='SHARE',
        help='say which answers to accept, so that this share of them is right, as 0.97, and which to look at',
    )
    parser.add_argument(
        '--together',
        action='store_true',
        help='all photos show one individual; a table of photos can say so in a column observation',
    )
    parser.add_argument('--taxonomy', help='CSV file with a header: class, parent, grandparent, ...')
    parser.add_argument(
        '--taxonomy-columns', nargs='+', default=[], metavar='COLUMN', help='metadata columns from the parent up'
    )
    places = parser.add_argument_group('place and season')
    places.add_argument(
        '--prior',
        metavar='COUNTS.csv',
        help='table of how often each class was seen where and when: class, cell, month, count; answers take the place '
        'and date of a photo into account, which its EXIF data says, or columns latitude, longitude, taken of a table; '
        'with --tune, find out how much they are to count',
    )
    places.add_argument(
        '--prior-weight', type=float, metavar='W', help='how much it counts: 0 not at all; default: as tuned, else 1'
    )
    places.add_argument(
        '--where-taken', type=float, nargs=2, metavar=('LAT', 'LON'), help='place of all photos, in degrees'
    )
    places.add_argument('--when', metavar='DATE', help='date of all photos, as 2024-05-01 or 2024-05')
    places.add_argument(
        '--only', metavar='LIST.txt', help='text file of the classes that can be the answer, one in each line'
    )
    cli.add_space(parser)
    cli.add_where(parser, 'rows that count')
    cli.add_exclude_same(parser)
    parser.add_argument('--json', action='store_true', help='print JSON in place of lines')
    cli.add_device(parser)
    args = parser.parse_args(argv)
    if not args.images and not args.tune:
        parser.error('name photos, or --tune the gallery')
    if args.taxonomy and args.taxonomy_columns:
        parser.error('give either --taxonomy or --taxonomy-columns')
    if args.accept is not None and not 0 <= args.accept < 1:
        parser.error(f'--accept is the share of accepted answers that are right, from 0 to below 1, not {args.accept}')
    if args.prior is None and (args.prior_weight, args.where_taken, args.when) != (None, None, None):
        parser.error('--prior-weight, --where-taken and --when go with --prior, a table of counts')
    if args.prior_weight is not None and not (math.isfinite(args.prior_weight) and args.prior_weight >= 0):
        parser.error(f'--prior-weight is 0 or more, not {args.prior_weight}')
    return args


def check(args: argparse.Namespace) -> None:
    """Find mistakes in the options before the model is loaded."""
    from retrieval.gallery import open_gallery
    from retrieval.gallery.spaces import parse_space
    from retrieval.recognition import Settings

    conditions = _conditions(args)
    with open_gallery(args.gallery) as gallery:
        cli.check_filter(gallery, conditions)
        _taken(args, [])
        _recognizer(args, gallery, Settings() if args.tune else None)
    if args.images:
        named = argparse.Namespace(**{**vars(args), 'images': _photos(args)})
        cli.check_search(named, space=parse_space(args.space), where=conditions)


def main(args: argparse.Namespace) -> cli.End:
    """Tune where it is asked for; then recognise, and print a line per photo or individual."""
    if args.tune:
        tuned = _tune(args)
        if not args.images:
            print(json.dumps(tuned, indent=1) if args.json else tuned['words'])
            return cli.End('classify', args.gallery, 'PHOTO.jpg')
        sys.stderr.write(f'{tuned["words"]}\n')
    return _classify(args)


def _tune(args: argparse.Namespace) -> dict[str, Any]:
    from retrieval.gallery import open_gallery
    from retrieval.gallery.spaces import parse_space
    from retrieval.recognition import describe_settings, store_settings, tune

    accept = {} if args.accept is None else {'accept': args.accept}
    with open_gallery(args.gallery, writable=True) as gallery:
        chosen = tune(gallery, parse_space(args.space), _conditions(args), _prior(args))
        found = store_settings(gallery.as_writer(), chosen)
    return {'words': describe_settings(found, **accept), **json.loads(found.to_json())}


def _classify(args: argparse.Namespace) -> cli.End:
    from glsim_mm.search import ImageSearch
    from glsim_mm.search.exif_columns import read_places
    from retrieval.answers import shown_paths
    from retrieval.recognition import describe_accepting, format_recognition, read_names, recognition_to_json

    with ExitStack() as stack:
        search = stack.enter_context(ImageSearch.open(args.gallery, **cli.gallery_model(args), device=args.device))
        recognizer = _recognizer(args, search.gallery)
        sys.stderr.write(f'{recognizer.note}\n' if recognizer.note else '')
        photos = _photos(args)
        wrong = read_places(photos) if args.prior is not None else []
        encoded = search.encoder.encode(photos)
        own = None
        if args.exclude_same:
            own = search.gallery.same_content([record.content_hash for record in encoded.records])
        together = _individuals(args, encoded.records)
        taken = _taken(args, encoded.records)
        answers = recognizer.recognize(encoded.embeddings, own, together, taken) if encoded.records else []
        names = read_names(search.gallery, answers)
    paths = [record.path for record in encoded.records]
    if args.json:
        shown = shown_paths(paths)
        print(
            json.dumps(
                [recognition_to_json([shown[row] for row in one.photos], one, names) for one in answers], indent=1
            )
        )
    else:
        for answer in answers:
            print(format_recognition(', '.join(paths[row] for row in answer.photos), answer, names))
    if args.accept is not None:
        for with_prior in sorted({one.prior is not None and bool(one.prior.used) for one in answers}):
            kept = recognizer.prior_settings if with_prior else recognizer.settings
            sys.stderr.write(f'{describe_accepting(kept, args.accept)}\n')
    for words in wrong:
        sys.stderr.write(f'not used: {words}\n')
    for _, path, reason in encoded.errors:
        sys.stderr.write(f'{path} cannot be read: {reason}\n')
    if not answers:
        sys.exit(1)
    return cli.End(
        'search',
        args.gallery,
        *(args.images if len(args.images) == 1 else ['PHOTO.jpg']),
        *cli.same_model(args),
        '--out',
        'results.html',
    )


def _photos(args: argparse.Namespace) -> Any:
    """Photos as the command line names them, or those of a table with what it says of them."""
    from glsim_mm.search import find_items

    if len(args.images) == 1 and Path(args.images[0]).suffix.lower() in ('.csv', '.tsv'):
        return find_items(args.images[0], exclude=args.exclude).items
    return cli.find_images(args.images, args.exclude)


def _individuals(args: argparse.Namespace, records: list[Any]) -> list[Any] | None:
    """Which individual each photo shows; None if each shows another one."""
    from retrieval.recognition import OBSERVATION

    named = [record.metadata.get(OBSERVATION) for record in records]
    if any(one is not None for one in named):
        return [('row', row) if one is None else one for row, one in enumerate(named)]
    return [0] * len(records) if args.together else None


def _taken(args: argparse.Namespace, records: list[Any]) -> list[Any]:
    """Where and when each photo was taken; what the command line says holds for all."""
    from retrieval.recognition import Taken

    told = Taken.read(*(args.where_taken or (None, None)), args.when)
    return [
        Taken(*(own if new is None else new for own, new in zip(Taken.of(one.metadata)[0], told))) for one in records
    ]


def _prior(args: argparse.Namespace) -> Any:
    """The counts, which are read once."""
    from retrieval.recognition import Prior

    if isinstance(args.prior, str):
        args.prior = Prior.from_csv(args.prior, args.prior_weight)
    return args.prior


def _conditions(args: argparse.Namespace) -> Any:
    from retrieval.gallery import parse_conditions

    return parse_conditions(args.where)


def _recognizer(args: argparse.Namespace, gallery: Any, settings: Any = None) -> Any:
    from retrieval.gallery.spaces import parse_space
    from retrieval.recognition import Recognizer, read_checklist, read_taxonomy

    return Recognizer(
        gallery,
        settings,
        read_taxonomy(gallery, args.taxonomy, args.taxonomy_columns),
        parse_space(args.space),
        _conditions(args),
        None if args.tune and settings is not None else args.accept,
        _prior(args),
        None if args.only is None else read_checklist(args.only),
    )


if __name__ == '__main__':
    arguments = parse_args()
    cli.run(main, arguments, needs_model=lambda args: bool(args.images) and cli.needs_stack(args), check=check)
