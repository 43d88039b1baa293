"""What all command lines here share: groups of options, checks of paths, and errors of one line.

A tool has ``parse_args`` and ``main``, and ``check`` if mistakes can be found before the model stack is imported, which
takes seconds.
"""

import argparse
import glob
import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
_INSTALL = 'install the project: pip install -e ".[mmcv-lite]"'
_FILES = {
    'config': 'config file',
    'detector_config': 'config file',
    'checkpoint': 'checkpoint',
    'detector_checkpoint': 'checkpoint',
}


class Overrides(argparse.Action):
    """``--cfg-options``, read by mmengine's ``DictAction``, which is imported only where the option is given."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Add the values to those that are there."""
        try:
            from mmengine.config import DictAction
        except ModuleNotFoundError as missing:
            _fail(f'{missing}; {_INSTALL}')
        DictAction(self.option_strings, self.dest)(parser, namespace, values, option)


def at_least(least: int) -> Callable[[str], int]:
    """Type of a whole number of an option, from ``least`` up."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f'must be {least} or more')
        return value

    return number


def add_overrides(parser: Any, **settings: Any) -> None:
    """``--cfg-options`` of tools that read a config."""
    settings.setdefault('help', 'config fields to override, as name=value')
    parser.add_argument('--cfg-options', nargs='+', action=Overrides, metavar='NAME=VALUE', **settings)


def add_device(parser: Any) -> None:
    """``--device`` of tools that run a model."""
    parser.add_argument('--device', help='for example cpu or cuda:1; default: the GPU if there is one')


def add_launcher(parser: Any) -> None:
    """Options of tools that run in several processes; ``torch.distributed.launch`` adds ``--local_rank``."""
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Options of training and testing."""
    parser.add_argument('--work-dir', help='folder for logs and checkpoints; default: work_dirs/NAME_OF_CONFIG')
    add_overrides(
        parser,
        help='config fields to override, as name=value; nested: a.b=1, lists: a="[1,2]" or a=1,2, without spaces',
    )
    parser.add_argument('--no-pin-memory', action='store_true', help='switch pin_memory off in all data loaders')
    parser.add_argument('--amp', action='store_true', help='mixed precision: float16 on GPU, bfloat16 on CPU')
    add_launcher(parser)


def add_encoding_options(parser: Any) -> None:
    """Options of tools that encode many images."""
    parser.add_argument('--batch-size', type=at_least(1), default=32, help='images per pass; default: 32')
    parser.add_argument('--num-workers', type=at_least(0), default=2, help='processes that read images; default: 2')
    add_device(parser)
    parser.add_argument('--amp', action='store_true', help='mixed precision: float16 on GPU, bfloat16 on CPU')


def add_gallery(parser: Any) -> None:
    """The gallery that a tool works on."""
    parser.add_argument('gallery', help='folder of the gallery, or milvus://HOST:PORT/COLLECTION')


def add_gallery_model(parser: Any) -> None:
    """The model of a gallery, for tools that encode images for it."""
    parser.add_argument('--config', help='config of the model; default: the one that the gallery was built with')
    parser.add_argument(
        '--checkpoint', help='its weights; default: those of the build. Or its .onnx file, which needs no config'
    )


def add_space(parser: Any) -> None:
    """Which embeddings of a gallery a tool compares."""
    parser.add_argument(
        '--space', help='embeddings to compare, as global, or weights as global=0.5,crop=0.5; default: the first'
    )


def add_where(parser: Any, what: str, name: str = '--where') -> None:
    """A filter of the rows of a gallery."""
    parser.add_argument(
        name,
        nargs='+',
        default=[],
        metavar='CONDITION',
        help=f"{what}, as label=Wren 'year>=2019' 'split in a,b'",
    )


def add_ranking_options(parser: Any) -> None:
    """How hits are ranked."""
    parser.add_argument('--rerank', metavar='METHOD', help='for example k-reciprocal, query-expansion, region')
    parser.add_argument('--depth', type=at_least(1), default=100, help='hits that --rerank looks at; default: 100')
    parser.add_argument(
        '--rescore', type=at_least(0), help='candidates to score exactly; default: by the preset, 0: none'
    )


def run(
    main: Callable[[argparse.Namespace], None],
    args: argparse.Namespace,
    needs_model: bool = True,
    check: Callable[[argparse.Namespace], None] | None = None,
) -> None:
    """Check what the command line names, import mmpretrain unless the tool needs no model, and call ``main``.

    A user's mistake ends in one line on stderr and exit code 2; ``GLSIM_TRACEBACK=1`` shows the traceback.
    """
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault('LOCAL_RANK', str(getattr(args, 'local_rank', 0)))
    try:
        from glsim_mm.compat import import_mmpretrain
        from glsim_mm.errors import report_user_errors
    except ImportError as error:
        _fail(f'{error}; {_INSTALL}')
    with report_user_errors():
        _check_paths(args)
        if check is not None:
            check(args)
        if needs_model:
            _import_mmengine()
            import_mmpretrain()
        main(args)


def needs_packages(*names: str, why: str) -> None:
    """Refuse to go on where a package is missing.

    Raises:
        ImportError: With what to install.
    """
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise ImportError(f'{why} needs {" and ".join(missing)}: pip install {" ".join(missing)}')


def write_json(path: str, content: Any) -> None:
    """Write a file of results, and the folder that it is to lie in."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(content), encoding='utf-8')


def _check_images(images: Sequence[str]) -> None:
    from glsim_mm.errors import GLSimError

    for path in images:
        if not (glob.has_magic(path) or '://' in path or Path(path).exists()):
            raise GLSimError(f'{path} does not exist; check the path')


def _check_paths(args: argparse.Namespace) -> None:
    """Find out now what would be told only after the model stack is imported."""
    from glsim_mm.errors import GLSimError

    for name, what in _FILES.items():
        path = getattr(args, name, None)
        if path and '://' not in path and not Path(path).expanduser().exists():
            raise GLSimError(f'{what} {path} does not exist; check the path')
    for name in ('images', 'inputs', 'photos'):
        images = getattr(args, name, None)
        if isinstance(images, list):
            _check_images(images)


def _import_mmengine() -> None:
    try:
        import mmengine  # noqa: F401
    except ModuleNotFoundError as missing:
        raise ImportError(f'{missing}; {_INSTALL}') from missing


def _fail(message: object) -> NoReturn:
    """One line on stderr, then exit code 2."""
    sys.stderr.write(f'error: {message}\n')
    sys.exit(2)
