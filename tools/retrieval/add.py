"""Encode more images into a gallery: glsim add GALLERY IMAGE [IMAGE ...]."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli

DESCRIPTION = """Encode more images into a gallery.

A file whose content is in the gallery is left out; a list or table gives it
its label, split and metadata. A file that has changed takes the place of its
older version: it keeps the id, and the label unless another is given. If it
is stopped, the same command goes on from there."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_gallery(parser)
    cli.add_new_images(parser, 'folders, files and patterns, or a list or table, as for glsim build')
    cli.add_root(
        parser,
        'name of a folder below which new photos lie; default: the name of the folder, where it lies below no root of '
        'the gallery; may be given several times',
        'NAME=DIR',
    )
    cli.add_gallery_model(parser)
    cli.add_encoding_options(parser)
    parser.add_argument('--compact', action='store_true', help='train the index again with all images')
    args = parser.parse_args(argv)
    if bool(args.images) == bool(args.dataset):
        parser.error('give either images or --dataset')
    return args


def check(args: argparse.Namespace) -> None:
    """Find out whether the images can be listed and the gallery can be written before the model is loaded."""
    from retrieval.gallery import Roots, open_gallery

    with open_gallery(args.gallery, writable=True) as gallery:
        cli.check_model(gallery, args)
        roots = Roots.of(gallery.manifest.origin)
        for name, folder in cli.read_roots(args.root).items():
            roots = roots.named(name, folder)
    cli.check_new_images(args)


def main(args: argparse.Namespace) -> cli.End:
    """Add and say what was done."""
    from glsim_mm.search import ImageSearch, format_report

    following, model, options = cli.same_model(args), cli.gallery_model(args), vars(args)
    for name in ('config', 'checkpoint', 'encoder_url', 'encoder_token_file'):
        options.pop(name)
    model |= {name: options.pop(name) for name in ('device', 'amp')}
    roots = cli.read_roots(options.pop('root'))
    gallery, images, progress = options.pop('gallery'), options.pop('images'), not options.pop('no_progress')
    with cli.resumable(), ImageSearch.open(gallery, **model, writable=True) as search:
        report = search.add(cli.new_images(images), roots=roots, progress=progress, **options)
    print(format_report(report))
    return cli.End('search', gallery, 'PHOTO.jpg', *following)


if __name__ == '__main__':
    arguments = parse_args()
    cli.run(main, arguments, needs_model=cli.needs_stack, check=check)
