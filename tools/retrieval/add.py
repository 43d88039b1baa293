"""Encode more images into a gallery: python tools/retrieval/add.py GALLERY IMAGE [IMAGE ...]."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from command_line import add_encoding_options, add_gallery, add_gallery_model, run

DESCRIPTION = """Encode more images into a gallery.

A file whose content is in the gallery is left out; a file at a path that is in the gallery, with another content, takes
the place of the older version, whose id, and label unless another is given, stay. Stopped, it goes on when the same
command is given again."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_gallery(parser)
    parser.add_argument('images', nargs='*', help='folders, files and patterns, or a list or table, as for build.py')
    parser.add_argument('--dataset', choices=['train', 'val', 'test'], help="in place of images: the config's data set")
    add_gallery_model(parser)
    add_encoding_options(parser)
    parser.add_argument('--compact', action='store_true', help='train the index again with all images')
    parser.add_argument('--no-progress', action='store_true', help='no progress on standard error')
    args = parser.parse_args(argv)
    if bool(args.images) == bool(args.dataset):
        parser.error('give either images or --dataset')
    return args


def check(args: argparse.Namespace) -> None:
    """Find out whether the images can be listed and the gallery can be written before the model is loaded."""
    from glsim_mm.search.items import find_items
    from retrieval.gallery import open_gallery

    open_gallery(args.gallery, writable=True).close()
    if args.images:
        find_items(args.images[0] if len(args.images) == 1 else args.images)


def main(args: argparse.Namespace) -> None:
    """Add and say what was done."""
    from glsim_mm.search import ImageSearch, format_report

    options = vars(args)
    model = {name: options.pop(name) for name in ('config', 'checkpoint', 'device', 'amp')}
    gallery, images, progress = options.pop('gallery'), options.pop('images'), not options.pop('no_progress')
    try:
        with ImageSearch.open(gallery, **model, writable=True) as search:
            images = (images[0] if len(images) == 1 else images) or None
            report = search.add(images, progress=progress, **options)
    except KeyboardInterrupt:
        sys.stderr.write('stopped; the same command goes on from here\n')
        sys.exit(130)
    print(format_report(report))


if __name__ == '__main__':
    arguments = parse_args()
    run(main, arguments, needs_model=not (arguments.checkpoint or '').endswith('.onnx'), check=check)
