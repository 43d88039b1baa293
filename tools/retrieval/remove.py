"""Take images out of a gallery: glsim remove GALLERY --id 3 17, or --where label=Wren."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli

DESCRIPTION = """Take images out of a gallery; their files stay where they are. In a folder, glsim label
GALLERY --undo brings them back until the gallery is compacted."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(description=DESCRIPTION)
    cli.add_gallery(parser)
    parser.add_argument('--id', type=int, nargs='+', default=[], help='ids of rows')
    cli.add_where(parser, 'remove all rows that a filter lets through')
    parser.add_argument(
        '--unfinished',
        action='store_true',
        help='discard what writers that died have left in a gallery in Milvus; none of them may still be running',
    )
    parser.add_argument('--by', help='who removes them; default: the login name')
    parser.add_argument('--compact', action='store_true', help='give back the space on disk, so that none comes back')
    parser.add_argument('--dry-run', action='store_true', help='say how many there are, and remove nothing')
    args = parser.parse_args(argv)
    if bool(args.id) + bool(args.where) + args.unfinished != 1:
        parser.error('give either --id, --where or --unfinished')
    return args


def main(args: argparse.Namespace) -> cli.End:
    """Remove and say how many."""
    from retrieval.gallery import open_gallery, parse_conditions

    where = parse_conditions(args.where)
    with open_gallery(args.gallery, writable=not args.dry_run) as gallery:
        if args.unfinished:
            print('\n'.join(gallery.unfinished) or 'no write is unfinished')
            if args.dry_run:
                return cli.end_of_dry_run('remove')
            gallery.as_writer().discard_unfinished()
            return cli.End('info', args.gallery)
        reason = gallery.why_empty(where)
        if reason:
            print(reason)
        if args.dry_run:
            print(f'{len(gallery.records(args.id)) if args.id else len(gallery.ids(where))} would be removed')
            return cli.end_of_dry_run('remove')
        done = gallery.remove(args.id, by=args.by) if args.id else gallery.remove(where=where, by=args.by)
        if args.compact:
            gallery.compact()
        print(f'{done.rows} removed, {len(gallery)} left')
        if done.number and not args.compact:
            print(f'glsim label {args.gallery} --undo {done.number} brings them back')
    return cli.End('info', args.gallery)


if __name__ == '__main__':
    cli.run(main, parse_args(), needs_model=False)
