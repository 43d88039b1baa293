"""Let a gallery follow its photos: glsim sync GALLERY [FOLDER ...]."""

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli

DESCRIPTION = """Make a gallery what its folders are.

A photo that moved keeps its row: path, label and metadata follow, and nothing
is encoded. A photo that changed is encoded anew and keeps its id, a new one is
added, and the row of one that is gone is removed. Rows of other folders stay.
A folder that is not there, or holds no photo, is refused. It can be stopped at
any time; the same command goes on from there."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_gallery(parser)
    parser.add_argument(
        'folders',
        nargs='*',
        metavar='FOLDER',
        help='folders (the sub-folder of an image is its label), lists (.txt) or tables (.csv); default: those that '
        'the gallery was built from',
    )
    cli.add_exclude(parser)
    parser.add_argument(
        '--missing',
        choices=['remove', 'flag', 'keep'],
        help='what to do with rows whose photos are gone: remove them, note the date in their column missing_since, or '
        'nothing; default: remove those that are certainly gone, and keep and list the others (photos that are there '
        'but not listed any more, or listed but not there; more than 20 at once that are more than half of all, or '
        'whose folder is empty)',
    )
    parser.add_argument(
        '--contradictions',
        choices=['keep', 'drop'],
        default='keep',
        help='of a content that lies in several classes, keep a row for each, or drop all its rows; default: keep',
    )
    cli.add_root(
        parser,
        'correct where the photos of a root lie, which has moved, and do nothing else: no row changes; may be given '
        'several times',
    )
    cli.add_exif(parser)
    parser.add_argument('--dry-run', action='store_true', help='list what would change, and change nothing')
    parser.add_argument('--report', type=cli.OutputFile, metavar='FILE', help='JSON file that lists every photo')
    watch = parser.add_argument_group('watching')
    watch.add_argument('--watch', action='store_true', help='go on, and follow files as they come and settle')
    watch.add_argument(
        '--settle', type=float, default=2.0, metavar='SECONDS', help='how long a file must stay as it is; default: 2'
    )
    watch.add_argument(
        '--poll',
        type=float,
        metavar='SECONDS',
        help='look that often, as for network drives; default: wait for events of the system, which needs watchdog, '
        'else look every 10 seconds',
    )
    cli.add_gallery_model(parser)
    cli.add_encoding_options(parser)
    parser.add_argument('--no-progress', action='store_true', help='no progress bar on standard error')
    args = parser.parse_args(argv)
    if args.watch and (args.dry_run or args.report):
        parser.error('--watch goes with neither --dry-run nor --report')
    if args.root and (args.folders or args.watch or args.report):
        parser.error('--root corrects roots and does nothing else: leave out folders, --watch and --report')
    if args.settle < 0 or (args.poll is not None and args.poll <= 0):
        parser.error('--settle must be 0 or more, --poll more than 0')
    return args


def main(args: argparse.Namespace) -> cli.End:
    """Sync, or correct roots, and say what was done."""
    if args.root:
        return _correct_roots(args)
    from glsim_mm.search import encoder_for, format_sync, sync_gallery, watch_folders
    from retrieval.gallery import open_gallery

    def load_model() -> Any:
        if cli.needs_stack(args):
            cli.import_model_stack()
        with open_gallery(args.gallery) as gallery:
            return encoder_for(gallery, **cli.gallery_model(args), device=args.device, amp=args.amp)

    def tell(news: Any) -> None:
        print(news if isinstance(news, str) else format_sync(news), flush=True)

    names = ('missing', 'contradictions', 'exif', 'batch_size', 'num_workers')
    options = {name: getattr(args, name) for name in names} | {
        'progress': not args.no_progress,
        'exclude': args.exclude or None,
    }
    with cli.resumable():
        if args.watch:
            watching = dict(settle_seconds=args.settle, poll_seconds=args.poll)
            watch_folders(args.gallery, load_model, args.folders or None, tell=tell, **watching, **options)
            return cli.End('search', args.gallery, 'PHOTO.jpg', *cli.same_model(args))
        report = sync_gallery(args.gallery, load_model, args.folders or None, dry_run=args.dry_run, **options)
    if args.report:
        report.write(args.report)
    print(format_sync(report, details=args.dry_run))
    if args.dry_run:
        return cli.end_of_dry_run('sync')
    return cli.End('search', args.gallery, 'PHOTO.jpg', *cli.same_model(args))


def _correct_roots(args: argparse.Namespace) -> cli.End:
    from retrieval.gallery import move_roots, open_gallery

    with open_gallery(args.gallery, writable=not args.dry_run) as gallery:
        moves = move_roots(gallery, cli.read_roots(args.root), args.dry_run)
    print(
        '\n'.join(
            [
                *(moves or ['all roots are as they were']),
                *(['nothing was changed: this was a dry run'] if args.dry_run else []),
            ]
        )
    )
    return cli.end_of_dry_run('sync') if args.dry_run else cli.End('sync', args.gallery)


if __name__ == '__main__':
    cli.run(main, parse_args(), needs_model=False)
