"""One sentence for a mistake in a config, in place of a library's traceback."""

import difflib
import inspect
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from mmengine.dataset import BaseDataset
from mmengine.registry import build_from_cfg, build_scheduler_from_cfg
from mmengine.runner import Runner
from mmpretrain.datasets import CustomDataset

from ..errors import GLSimError, UserError, one_line

# Functions that call a class with a config, and their names for the class.
_BUILDERS = {build_from_cfg.__code__: 'obj_cls', build_scheduler_from_cfg.__code__: 'scheduler_cls'}
# Functions that fail without images, or where folders and classes differ.
_LISTERS = (BaseDataset._serialize_data.__code__, CustomDataset._find_samples.__code__)
_CONSTRUCTORS = ('__init__', 'build_iter_from_epoch')
_UNKNOWN_ARGUMENT = re.compile(r"unexpected keyword argument '(\w+)'")
_MISSING_ARGUMENT = re.compile(r'missing \d+ required (?:positional|keyword-only) arguments?: (.+)')
_UNKNOWN_TYPE = re.compile(r"'?([\w.]+) is not in the ([\w.]+)::([\w ]+) registry")


@contextmanager
def explain_config_errors() -> Iterator[None]:
    """Turn errors that a config caused into :class:`GLSimError`; all others, bugs among them, pass as they are.

    Raises:
        GLSimError: For an argument or type that a module does not know, a required argument that is missing, a value
            that a module refuses, a file or folder of data that is not there, and a folder without images.
    """
    try:
        yield
    except UserError:  # some of them are ValueErrors too
        raise
    except (TypeError, LookupError, ValueError, RuntimeError, AssertionError, OSError) as error:
        sentence = explain(error)
        if sentence is None:
            raise
        raise GLSimError(sentence) from error


def explain(error: Exception) -> str | None:
    """One sentence for a caught error that a config caused, None for any other error."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if isinstance(error, OSError):
        return _explain_missing_file(error, frames)
    if frames[-1].f_code in _LISTERS:
        return f'the data set has no images, or other classes: {" ".join(str(error).split())}; check its folders'
    if isinstance(error, IndexError):
        return _explain_frozen_stages(frames)
    if not isinstance(error, (TypeError, KeyError, ValueError, AssertionError)):
        return None
    built = _innermost_build(frames)
    if built is None:
        return _explain_data_loader(error, frames)
    build, below = built
    if isinstance(error, KeyError):
        return _explain_unknown_type(error) if not below else None
    module = build.f_locals[_BUILDERS[build.f_code]]
    if isinstance(error, (ValueError, AssertionError)):
        return _explain_value(error, module)
    # Errors of the call itself are raised in the caller's frame; arguments handed on by constructors add theirs.
    if any(frame.f_code.co_name not in _CONSTRUCTORS for frame in below):
        return None
    return _explain_argument(error, build.f_locals['cfg'], module)


def _explain_argument(error: TypeError, fields: dict, module: Callable) -> str | None:
    unknown, missing = _UNKNOWN_ARGUMENT.search(str(error)), _MISSING_ARGUMENT.search(str(error))
    name = getattr(module, '__name__', str(module))
    if unknown and unknown[1] in fields:
        return f'{name} has no field {unknown[1]!r}{_suggest(unknown[1], module)}; correct the config'
    if missing:
        return f'{name} needs the field {missing[1]}; add it to the config'
    return None


def _explain_value(error: Exception, module: Callable) -> str | None:
    """Modules complain about values of their arguments; one that says nothing has a bug."""
    if not str(error).strip():
        return None
    return f'{getattr(module, "__name__", module)} cannot be built: {one_line(error, 300)}; correct the config'


def _explain_data_loader(error: Exception, frames: list[FrameType]) -> str | None:
    """torch checks what a config says of a data loader itself."""
    asked = any(frame.f_code is Runner.build_dataloader.__code__ for frame in frames)
    if not asked or frames[-1].f_code.co_name not in _CONSTRUCTORS or not isinstance(error, (TypeError, ValueError)):
        return None
    return f'a data loader cannot be built: {one_line(error, 300)}; correct the config'


def _explain_frozen_stages(frames: list[FrameType]) -> str | None:
    """mmpretrain's backbones look for layers that are not there."""
    frozen = [frame.f_locals['self'] for frame in frames if frame.f_code.co_name == '_freeze_stages']
    if not frozen:
        return None
    stages, name = getattr(frozen[0], 'frozen_stages', None), type(frozen[0]).__name__
    return f'frozen_stages={stages} is more than {name} has; set --cfg-options model.backbone.frozen_stages'


def _explain_unknown_type(error: KeyError) -> str | None:
    if 'must contain the key "type"' in str(error):
        fields = one_line(error.args[0].partition('but got')[2].strip().partition('\n')[0], 80)
        return f'a part of the config has no type: {fields}; add it, or correct the name of the field'
    unknown = _UNKNOWN_TYPE.search(str(error))
    if unknown is None:
        return None
    return (
        f'there is no {unknown[3]} of type {unknown[1]!r}; correct the config, or name the package that registers '
        'it in custom_imports'
    )


def _explain_missing_file(error: OSError, frames: list[FrameType]) -> str | None:
    """Only files asked for while data loaders are built are the config's."""
    missing = isinstance(error, (FileNotFoundError, NotADirectoryError, PermissionError))
    if not missing or not any(frame.f_code is Runner.build_dataloader.__code__ for frame in frames):
        return None
    what = error.filename or str(error)
    return f'the data is not there: {what}; set data_root of the data sets, or prepare the data'


def _innermost_build(frames: list[FrameType]) -> tuple[FrameType, list[FrameType]] | None:
    """Frame in which the innermost module was being built from its config, and the frames inside its construction."""
    for position in reversed(range(len(frames))):
        if frames[position].f_code in _BUILDERS:
            return frames[position], frames[position + 1 :]
    return None


def _suggest(field: str, module: Callable) -> str:
    bases = inspect.getmro(module) if inspect.isclass(module) else ()
    own = [vars(base)['__init__'] for base in bases if '__init__' in vars(base)]
    functions = own or [module]
    known = [name for function in functions for name in inspect.signature(function).parameters]
    close = difflib.get_close_matches(field, known, n=1)
    return f' (did you mean {close[0]!r}?)' if close else ''
