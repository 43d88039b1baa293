"""Find the kind of index that fits a gallery, by measuring on its own rows: glsim tune GALLERY --recall 0.98."""

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(
        description="Measure kinds of index on a gallery's own rows, and name the fastest that finds enough of the "
        'nearest rows within the memory. OMP_NUM_THREADS=1 measures one thread.'
    )
    cli.add_gallery(parser)
    parser.add_argument(
        '--recall', type=cli.share, default=0.98, help='share of the 10 nearest rows to find; default: 0.98'
    )
    parser.add_argument(
        '--memory', type=size, metavar='2GB', help='memory of the index; default: half of what there is'
    )
    cli.add_number(parser, '--qps', 'queries per second in a batch; the smallest kind that answers as many is taken')
    parser.add_argument('--presets', nargs='+', help='kinds of index to try; default: all')
    cli.add_number(parser, '--rows', 'measure on so many rows at most, drawn at random', 100_000)
    parser.add_argument('--apply', action='store_true', help='build the index that is named')
    return parser.parse_args(argv)


def size(text: str) -> int:
    """Bytes as people write them: 2GB, 500MB, 1.5GiB; GB counts as GiB."""
    found = re.fullmatch(r'(\d{1,9}(?:\.\d{1,3})?) ?([KMGT])i?B?', text, re.IGNORECASE)
    if found is None:
        raise argparse.ArgumentTypeError(f'must be a size, as 500MB or 2GB, got {text!r}')
    return int(float(found[1]) * 1024 ** ('KMGT'.index(found[2].upper()) + 1))


def main(args: argparse.Namespace) -> cli.End:
    """Measure, print, and build where it is asked for."""
    from glsim_mm.analysis.index_tuning import apply_choice, format_trials, tune_index
    from retrieval.gallery import open_gallery

    with open_gallery(args.gallery, writable=args.apply) as gallery:
        trials, best = tune_index(
            gallery,
            args.recall,
            args.memory,
            args.qps,
            args.presets,
            args.rows,
            lambda name: print(f'measuring {name}', file=sys.stderr, flush=True),
        )
        print(format_trials(trials))
        print(f'{best.preset} fits: recall {best.recall:.3f}, {best.batch_qps:,.0f} queries a second in a batch')
        if args.apply:
            print(apply_choice(gallery.as_writer(), best, args.recall))
            return cli.End('search', args.gallery, 'PHOTO.jpg')
    return cli.End('tune', args.gallery, '--recall', f'{args.recall:g}', '--apply')


if __name__ == '__main__':
    cli.run(main, parse_args(), needs_model=False)
