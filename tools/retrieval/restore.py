"""Make a gallery of its backup: glsim restore BACKUP GALLERY."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli

DESCRIPTION = """Make a gallery of its backup, after comparing the checksums of all files.

If it is stopped, the same command goes on from there."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('backup', help='folder of the backup')
    parser.add_argument('gallery', type=cli.OutputFolder, help='folder of the gallery')
    parser.add_argument('--overwrite', action='store_true', help='replace a gallery there, once the restored is whole')
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> cli.End:
    """Restore and say how much."""
    from retrieval.gallery import restore_gallery

    with cli.resumable():
        print(restore_gallery(args.backup, args.gallery, overwrite=args.overwrite).describe())
    return cli.End('search', args.gallery, 'PHOTO.jpg')


if __name__ == '__main__':
    cli.run(main, parse_args(), needs_model=False)
