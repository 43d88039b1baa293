"""Say what is installed, what is missing, and what to type: glsim doctor."""

import argparse
import sys

import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(
        description='Say what is installed, what is missing, and what to type. Exit code 0: all that is needed is '
        'there; 1: something is missing; extras do not count.'
    )
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> cli.End:
    """Look and print."""
    from glsim_mm.diagnosis import diagnose, format_findings, is_fit

    findings = diagnose()
    print(format_findings(findings))
    if not is_fit(findings):
        sys.exit(1)
    return cli.End('init', 'PHOTOS')


if __name__ == '__main__':
    cli.run(main, parse_args(), needs_model=False)
