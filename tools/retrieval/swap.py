"""Put a new gallery in the place of one that serves: glsim swap GALLERY NEW."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli

DESCRIPTION = """Let two galleries change places, by one atomic rename.

At every moment there is a whole gallery at GALLERY. The same command takes it
back. Where GALLERY is a symbolic link, it leads to NEW afterwards."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('gallery', help='folder of the gallery that serves, or a symbolic link to it')
    parser.add_argument('new', help='folder of the gallery that is to serve, on the same file system')
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> cli.End:
    """Swap and say what is where."""
    from retrieval.gallery import swap_galleries

    print(swap_galleries(args.gallery, args.new))
    return cli.End('info', args.gallery)


if __name__ == '__main__':
    cli.run(main, parse_args(), needs_model=False)
