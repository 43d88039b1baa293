"""Statistics of a config's data set: glsim stats CONFIG [--split train]."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(
        description='Count images per class and measure them; list unreadable and equal files, near copies, images '
        'that other splits have too, boxes that cannot be right, and files that are left out'
    )
    cli.add_config(parser, ' with the data set')
    parser.add_argument(
        '--split', choices=['train', 'val', 'test'], default='train', help='which images; default: train'
    )
    cli.add_number(parser, '--classes', 'list only so many largest and smallest classes; default: all')
    parser.add_argument('--out', type=cli.OutputFile, help='CSV file for the images per class')
    parser.add_argument('--sheet', type=cli.OutputFile, help='PNG file for a sheet of sample pictures')
    cli.add_number(parser, '--num', 'pictures on the sheet', 24)
    parser.add_argument('--seed', type=int, default=0, help='other seeds choose other pictures; default: 0')
    parser.add_argument('--no-duplicates', action='store_true', help='do not decode images to compare them')
    cli.add_number(parser, '--workers', 'threads; default: one per core')
    parser.add_argument('--no-progress', action='store_true', help='no progress bar')
    cli.add_overrides(parser)
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> cli.End:
    """Count and print."""
    from glsim_mm.apis import dataset_overview, load_config
    from glsim_mm.datasets.dataset_statistics import format_statistics, to_csv
    from glsim_mm.images.decoder_messages import errors_of_c_last
    from glsim_mm.output_files import write_file

    cfg = load_config(args.config, args.cfg_options)
    with errors_of_c_last():
        statistics = dataset_overview.describe_dataset(
            cfg, args.split, not args.no_duplicates, args.workers, not args.no_progress
        )
    print(format_statistics(statistics, args.classes))
    if args.out:
        write_file(args.out, to_csv(statistics))
    if args.sheet:
        dataset_overview.write_sample_sheet(cfg, args.sheet, args.split, args.num, args.seed)
    return cli.End('train', args.config)


if __name__ == '__main__':
    cli.run(main, parse_args())
