"""Encode more images into a gallery: python tools/retrieval/add.py GALLERY IMAGE [IMAGE ...]."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from command_line import run

DESCRIPTION = """Encode more images into a gallery.

A file whose content is in the gallery is left out; a file at a path that is in the gallery, with another content, takes
the place of the older version, whose id, and label unless another is given, stay. Stopped, it goes on when the same
command is given again."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('gallery', help='folder of the gallery, or milvus://HOST:PORT/COLLECTION')
    parser.add_argument('images', nargs='*', help='folders, files and patterns, or a list or table, as for build.py')
    parser.add_argument('--dataset', choices=['train', 'val', 'test'], help="in place of images: the config's data set")
    parser.add_argument('--config', help='config of the model; default: the one that the gallery was built with')
    parser.add_argument('--checkpoint', help='weights of the model; default: likewise')
    parser.add_argument('--batch-size', type=int, default=32, help='images per pass; default: 32')
    parser.add_argument('--num-workers', type=int, default=2, help='processes that read images; default: 2')
    parser.add_argument('--device', help='for example cpu or cuda:1; default: the GPU if there is one')
    parser.add_argument('--amp', action='store_true', help='mixed precision: float16 on GPU, bfloat16 on CPU')
    parser.add_argument('--compact', action='store_true', help='train the index anew with all images')
    parser.add_argument('--no-progress', action='store_true', help='no progress on standard error')
    args = parser.parse_args(argv)
    if bool(args.images) == bool(args.dataset):
        parser.error('give either images or --dataset')
    return args


def main(args: argparse.Namespace) -> None:
    """Add and say what was done."""
    from glsim_mm.search import add_to_location, format_report

    try:
        report = add_to_location(
            args.gallery,
            (args.images[0] if len(args.images) == 1 else args.images) or None,
            args.config,
            args.checkpoint,
            dataset=args.dataset,
            batch_size=args.batch_size,
            num_workers=args.num_workers,
            device=args.device,
            amp=args.amp,
            compact=args.compact,
            progress=not args.no_progress,
        )
    except KeyboardInterrupt:
        sys.stderr.write('stopped; the same command goes on from here\n')
        sys.exit(130)
    print(format_report(report))


if __name__ == '__main__':
    run(main, parse_args())
