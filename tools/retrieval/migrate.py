"""Copy a gallery between a folder and Milvus: glsim migrate SOURCE [SOURCE ...] TARGET."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(
        description='Copy a gallery from a folder to Milvus, back, or from one place to another of the same kind; run '
        'it again if it broke off, and it goes on where it stopped. A token for Milvus comes from the environment '
        'variable MILVUS_TOKEN'
    )
    parser.add_argument(
        'source', nargs='+', help='folder of the gallery, or milvus://HOST:PORT/COLLECTION; several are shards of one'
    )
    parser.add_argument(
        'target',
        type=cli.OutputFolder,
        help='where to copy it, written in the same way; what is there already must be part of the same gallery',
    )
    parser.add_argument('--preset', default='auto', help='index of the target, such as flat or hnsw; default: auto')
    cli.add_number(parser, '--batch-size', 'rows copied at a time', 1000)
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> cli.End:
    """Copy and say how much."""
    from retrieval.migration import migrate

    print(migrate(args.source, args.target, preset=args.preset, batch_size=args.batch_size).describe())
    return cli.End('info', args.target, '--verify')


if __name__ == '__main__':
    cli.run(main, parse_args(), needs_model=False)
