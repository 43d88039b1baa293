"""What every command line here shares: finding the package, and errors of one line."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]


def fail(message: object) -> NoReturn:
    """One line on stderr, then exit code 2."""
    sys.stderr.write(f'error: {message}\n')
    sys.exit(2)


try:
    from mmengine.config import DictAction
except ModuleNotFoundError as missing:
    fail(f'{missing}; install the project: pip install -e ".[mmcv-lite]"')


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Options of all command lines that run a config."""
    parser.add_argument('--work-dir', help='folder for logs and checkpoints; default: work_dirs/NAME_OF_CONFIG')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='config fields to override, as name=value; nested: a.b=1, lists: a="[1,2]" or a=1,2, without spaces',
    )
    parser.add_argument('--no-pin-memory', action='store_true', help='switch pin_memory off in all data loaders')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def run(main: Callable[[argparse.Namespace], None], args: argparse.Namespace, needs_model: bool = True) -> None:
    """Call ``main``; a user's mistake ends in one line on stderr and exit code 2, GLSIM_TRACEBACK=1 shows it all.

    Without ``needs_model`` mmpretrain is not imported, which takes seconds: for what only looks into galleries.
    """
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault('LOCAL_RANK', str(getattr(args, 'local_rank', 0)))
    if not needs_model:
        return _run_light(main, args)
    try:
        from glsim_mm.compat import import_mmpretrain

        import_mmpretrain()
        from glsim_mm.apis import report_user_errors
    except ImportError as error:
        if os.environ.get('GLSIM_TRACEBACK') == '1':
            raise
        fail(error)
    with report_user_errors():
        main(args)


def _run_light(main: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
    from retrieval.errors import UserError

    try:
        main(args)
    except (UserError, ImportError) as error:
        if os.environ.get('GLSIM_TRACEBACK') == '1':
            raise
        fail(' '.join(str(error).split()))
