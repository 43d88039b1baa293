"""Check a GPU: parity with the CPU, mixed precision, two processes, speed: glsim gpu-check."""

import argparse
import sys

import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(
        description='Check what this project does on a GPU, in at most 8 minutes: parity of model and index with the '
        'CPU, mixed precision, hidden waits, two processes, speed, and the tests that need a GPU. What cannot be '
        'checked is left out with its reason. Exit code 0: nothing failed; 1: something did; 2: there is no GPU.'
    )
    parser.add_argument('--device', default='cuda', help='cuda, cuda:1, or cpu to try the checks; default: cuda')
    parser.add_argument('--quick', action='store_true', help='smaller models and indexes, fewer rounds')
    parser.add_argument(
        '--out',
        type=cli.OutputFolder,
        default=cli.OutputFolder('work_dirs/gpu_check'),
        help='folder for gpu_check.json and gpu_check.md; default: work_dirs/gpu_check',
    )
    return parser.parse_args(argv)


def check(args: argparse.Namespace) -> None:
    """Refuse a device that is not there."""
    from glsim_mm.analysis.gpu_check import check_device

    cli.needs_packages('torch', 'numpy', why='glsim gpu-check')
    check_device(args.device)


def main(args: argparse.Namespace) -> cli.End:
    """Check, print, write."""
    from pathlib import Path

    from glsim_mm.analysis.gpu_check import run_checks
    from glsim_mm.analysis.gpu_outcome import FAILED, JSON_FILE, MARKDOWN_FILE, Scope

    folder = Path(args.out)
    outcomes = run_checks(Scope(args.device, args.quick), folder, lambda line: print(line, flush=True))
    written = [str(folder / name) for name in (MARKDOWN_FILE, JSON_FILE)]
    if any(one.status == FAILED for one in outcomes):
        print(f'see {written[0]}')
        sys.exit(1)
    return cli.End('benchmark', 'inference', '--device', args.device, written=written)


if __name__ == '__main__':
    cli.run(main, parse_args(), check=check, needs_model=False)
