"""Back up a gallery, also while it is used: glsim backup GALLERY TARGET."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli

DESCRIPTION = """Back up a gallery in a folder, also while it is read and written.

Run it again to bring the backup up to date: only what is new is copied. If it
is stopped, the same command goes on from there. The backup is a gallery that
can be opened; glsim restore makes the gallery of it again."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('gallery', help='folder of the gallery')
    parser.add_argument('target', type=cli.OutputFolder, help='folder of the backup, new or from the time before')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace another gallery there, or a backup that was changed since'
    )
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> cli.End:
    """Back up and say how much."""
    from retrieval.gallery import back_up_gallery

    with cli.resumable():
        print(back_up_gallery(args.gallery, args.target, overwrite=args.overwrite).describe())
    return cli.End('info', args.target, '--verify')


if __name__ == '__main__':
    cli.run(main, parse_args(), needs_model=False)
