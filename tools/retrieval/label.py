"""Change labels and metadata in a gallery: glsim label GALLERY --id 3 17 --set label=Wren."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli

if TYPE_CHECKING:
    from retrieval.gallery import Change, ChangeSet, GalleryReader

DESCRIPTION = """Change labels and metadata in a gallery, without the model.

Every change is kept with its time, its author, and the old and new values:
--history lists them, --undo takes the last one back, and undoing an undo
brings the change again."""
_SHOWN, _LAST = 20, -1


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_gallery(parser)
    rows = parser.add_argument_group('which rows, for --set')
    rows.add_argument('--id', type=int, nargs='+', default=[], help='ids of rows; with --history, rows to look at')
    cli.add_where(rows, 'all rows that a filter lets through')
    changes = parser.add_argument_group('what to do, one of these')
    changes.add_argument(
        '--set',
        action='append',
        metavar='COLUMN=VALUE',
        help='new value of label, split, path or a column of metadata; nothing after = takes the value away; may be '
        'given several times',
    )
    changes.add_argument(
        '--table', metavar='FILE', help='CSV or TSV file with a column id or path, and others with the new values'
    )
    changes.add_argument(
        '--rename',
        nargs=2,
        action='append',
        metavar=('OLD', 'NEW'),
        help='new name of a class; if NEW is the name of another class, the two are merged; may be given several times',
    )
    changes.add_argument(
        '--undo',
        nargs='?',
        type=int,
        const=_LAST,
        metavar='NUMBER',
        help='take back the last change, or the one with this number',
    )
    changes.add_argument(
        '--history',
        nargs='?',
        type=int,
        const=_LAST,
        metavar='NUMBER',
        help='list all changes, or the values of the one with this number',
    )
    parser.add_argument('--skip-changed', action='store_true', help='let --undo leave out rows that were changed since')
    parser.add_argument('--by', help='who makes the change; default: the login name')
    parser.add_argument('--dry-run', action='store_true', help='say what would change, and change nothing')
    args = parser.parse_args(argv)
    if sum(one is not None for one in (args.set, args.table, args.rename, args.undo, args.history)) != 1:
        parser.error('give one of --set, --table, --rename, --undo and --history')
    if args.set and bool(args.id) == bool(args.where):
        parser.error('--set needs either --id or --where')
    if not args.set and (args.where or args.id and args.history is None):
        parser.error('--id and --where go with --set, and --id with --history')
    return args


def main(args: argparse.Namespace) -> cli.End:
    """Look up, change and say what was done."""
    from retrieval.gallery import open_gallery

    reading = args.dry_run or args.history is not None
    with open_gallery(args.gallery, writable=not reading) as gallery:
        if args.history is not None:
            _print_history(gallery, args)
        elif args.undo is not None:
            _undo(gallery, args)
        else:
            _set(gallery, args)
    if args.history is not None:
        return cli.End('search', args.gallery, 'PHOTO.jpg')
    return cli.end_of_dry_run('label') if args.dry_run else cli.End('label', args.gallery, '--history')


def _print_history(gallery: 'GalleryReader', args: argparse.Namespace) -> None:
    from retrieval.relabelling import describe_change_set, describe_changes

    if args.history == _LAST and not args.id:
        print('\n'.join(map(describe_change_set, gallery.history())) or 'nothing has been changed')
        return
    changes = gallery.changes(None if args.history == _LAST else args.history, args.id or None)
    print('\n'.join(describe_changes(changes, numbered=bool(args.id))) or 'nothing of this has been changed')


def _undo(gallery: 'GalleryReader', args: argparse.Namespace) -> None:
    from retrieval.relabelling import describe_left

    plan = gallery.plan_undo(None if args.undo == _LAST else args.undo)
    plan.refuse(args.skip_changed)
    print('\n'.join(describe_left(plan)), end='\n' if plan.left else '')
    if args.dry_run:
        _print_plan(plan.changes)
    else:
        _print_done(gallery.as_writer().undo(plan.number, by=args.by, skip_changed=args.skip_changed))


def _set(gallery: 'GalleryReader', args: argparse.Namespace) -> None:
    from retrieval.gallery import parse_conditions
    from retrieval.relabelling import NewValues, new_columns, read_assignments, read_value_table, renamed_labels

    if args.set:
        where = parse_conditions(args.where)
        cli.check_filter(gallery, where)
        values = read_assignments(args.set, gallery.columns())
        new = NewValues(args.id or gallery.ids(where), values, list(new_columns([values], gallery.columns())))
    else:
        new = renamed_labels(gallery, args.rename) if args.rename else read_value_table(gallery, args.table)
    print('\n'.join(new.sentences), end='\n' if new.sentences else '')
    if args.dry_run:
        _print_plan(gallery.plan_values(new.ids, new.values))
    else:
        _print_done(gallery.as_writer().set_values(new.ids, new.values, by=args.by))


def _print_plan(changes: 'list[Change]') -> None:
    from retrieval.relabelling import count_rows, describe_changes

    rows = count_rows(len({one.id for one in changes}))
    print('\n'.join([*describe_changes(changes, _SHOWN), f'{rows} would change']))


def _print_done(done: 'ChangeSet') -> None:
    from retrieval.relabelling import describe_change_set

    print(describe_change_set(done) if done.rows else 'all is so already: nothing was changed')


if __name__ == '__main__':
    cli.run(main, parse_args(), needs_model=False)
