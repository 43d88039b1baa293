"""Copy a gallery between a folder and Milvus: python tools/retrieval/migrate.py SOURCE [SOURCE ...] TARGET."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from command_line import at_least, run


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description='Copy a gallery from a folder to Milvus, back, or from one place to another of the same kind; run '
        'it again if it broke off, and it goes on where it stopped. A token for Milvus comes from the environment '
        'variable MILVUS_TOKEN'
    )
    parser.add_argument(
        'source', nargs='+', help='folder of the gallery, or milvus://HOST:PORT/COLLECTION; several are shards of one'
    )
    parser.add_argument(
        'target',
        help='where to copy it, written in the same way; what is there already must be part of the same gallery',
    )
    parser.add_argument('--preset', default='auto', help="index of the target, as flat or hnsw; default: 'auto'")
    parser.add_argument('--batch-size', type=at_least(1), default=1000, help='rows copied at a time; default: 1000')
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    """Copy and say how much."""
    from retrieval.migration import migrate

    print(migrate(args.source, args.target, preset=args.preset, batch_size=args.batch_size).describe())


if __name__ == '__main__':
    run(main, parse_args(), needs_model=False)
