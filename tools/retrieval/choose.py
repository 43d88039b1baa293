"""Find out which embeddings and which metric a gallery searches best with: glsim choose GALLERY."""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli

DESCRIPTION = """Compare the embeddings of a gallery, their sums and metrics by classes that are
held out, from stored vectors and labels: no model is needed, and it takes
seconds to minutes. Of a folder of photos, with --out and a model, a gallery of
all embeddings of the model is built first."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('gallery', help='gallery, or folder of photos with a sub-folder for each class')
    parser.add_argument('--spaces', nargs='+', metavar='SPACE', help='embeddings to try; default: all of the model')
    parser.add_argument(
        '--kinds',
        nargs='+',
        default=['sum', 'pca', 'classes', 'adapter'],
        metavar='KIND',
        help='what to try on them: sum (as they are), pca, classes, adapter; default: all',
    )
    parser.add_argument('--labels-from', metavar='OTHER', help='gallery of the same model to learn metrics from')
    parser.add_argument('--apply', action='store_true', help='make the best what searches compare by default')
    parser.add_argument('--json', type=cli.OutputFile, metavar='FILE', help='write all numbers to this file too')
    photos = parser.add_argument_group('of a folder of photos')
    photos.add_argument('--config', help='config of the model')
    photos.add_argument('--checkpoint', help='its weights')
    photos.add_argument('--out', type=cli.OutputFolder, metavar='GALLERY', help='folder of the gallery that is built')
    cli.add_encoding_options(photos)
    cli.add_encoder(parser)
    args = parser.parse_args(argv)
    has_model = (args.config and args.checkpoint) if args.encoder is None else not (args.config or args.checkpoint)
    if is_folder_of_photos(args) and not (args.out and has_model):
        parser.error(
            f'{args.gallery} is no gallery; to encode the photos in it, give --out, and either --encoder, or --config '
            'and --checkpoint'
        )
    return args


def is_folder_of_photos(args: argparse.Namespace) -> bool:
    """Whether there is a folder that holds no gallery."""
    sys.path.insert(0, str(cli.ROOT))
    from retrieval.gallery.database import DATABASE_FILE

    return Path(args.gallery).is_dir() and not Path(args.gallery, DATABASE_FILE).exists()


def main(args: argparse.Namespace) -> cli.End:
    """Build where it is asked for, compare, and print."""
    from glsim_mm.output_files import write_json
    from glsim_mm.progress import ProgressBar
    from retrieval.choosing import apply_choice, choice_to_json, choose, command_of, format_choice, list_candidates
    from retrieval.gallery import open_gallery
    from retrieval.gallery.spaces import Spaces

    location = build(args) if is_folder_of_photos(args) else args.gallery
    with ExitStack() as stack:
        gallery = stack.enter_context(open_gallery(location, writable=args.apply))
        other = stack.enter_context(open_gallery(args.labels_from)) if args.labels_from else None
        candidates = list_candidates(Spaces.of(gallery), args.spaces, args.kinds)
        with ProgressBar(len(candidates), 'comparing', unit='ways') as bar:
            choice = choose(gallery, candidates, labels_from=other, note=bar.advance)
        print(format_choice(choice))
        if args.json:
            write_json(args.json, choice_to_json(choice))
        if args.apply:
            print(apply_choice(gallery.as_writer(), choice, other))
            return cli.End('evaluate', location)
    following = command_of(choice, location, args.labels_from)
    return cli.End(*(following or ('search', location, 'PHOTO.jpg')))


def build(args: argparse.Namespace) -> Any:
    """A gallery of a folder of photos; its location."""
    from glsim_mm.search import build_gallery, format_report, frozen_settings

    options: dict[str, Any] = {name: getattr(args, name) for name in ('batch_size', 'num_workers', 'device', 'amp')}
    options['spaces'] = ['all']
    if args.encoder is not None:
        options['encoder'] = frozen_settings(args.encoder, args.arch, args.image_size)
    with cli.resumable():
        report = build_gallery(args.gallery, args.config, args.checkpoint, args.out, **options)
    print(format_report(report))
    return args.out


if __name__ == '__main__':
    arguments = parse_args()
    cli.run(main, arguments, needs_model=is_folder_of_photos(arguments))
