"""Print test results below each other: glsim compare NAME=METRICS.json [NAME=METRICS.json ...]."""

import argparse

import command_line as cli


def parse_args() -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(description='Print test results below each other')
    parser.add_argument('results', nargs='+', metavar='NAME=FILE', help='name to show, and metrics of glsim test')
    cli.add_number(parser, '--num-classes', 'show the accuracy of guessing among so many classes too')
    args = parser.parse_args()
    if not all('=' in result for result in args.results):
        parser.error('each result must be NAME=FILE')
    return args


def main(args: argparse.Namespace) -> cli.End:
    """Print the table."""
    from glsim_mm.result_files import format_results, read_metrics

    files = dict(result.split('=', 1) for result in args.results)
    print(format_results({name: read_metrics(path) for name, path in files.items()}, args.num_classes))
    return cli.End('sweep', 'CONFIG', '--seeds', '0', '1', '2')


if __name__ == '__main__':
    cli.run(main, parse_args(), needs_model=False)
