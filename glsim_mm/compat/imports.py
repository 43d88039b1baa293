"""Import mmpretrain without its noise, say in one line what to install when that fails, and act when it is there."""

import io
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from ..errors import one_line

_INSTALL_MMCV = 'pip install "glsim_mm[mmcv-lite]" (or install full mmcv, never both: they share one import name)'


def import_mmpretrain() -> None:
    """Import mmpretrain; the ``ImportError`` says in one line what is missing, or which versions exclude each other."""
    with _quiet_import():
        import mmcv  # noqa: F401  (first, since mmpretrain's message about it is hard to read)

        leave_out_broken_multimodal()
        import mmpretrain.datasets  # noqa: F401


def after_mmpretrain(action: Callable[[], None]) -> None:
    """Call a function as soon as mmpretrain has been imported, by whomever: at once if it is there already.

    The technique is that of ``wrapt.when_imported``: the import of this one module goes through a finder of ours,
    which removes itself afterwards. Python's import lock makes other threads wait until the function has returned.
    """
    if sys.modules.get('mmpretrain') is not None:
        import_mmpretrain()  # waits for a thread that is importing it
        action()
    else:
        sys.meta_path.insert(0, _MMPretrainFinder(action))


class _MMPretrainFinder(MetaPathFinder):
    """Finds mmpretrain as the other finders do, and adds to what its loader does."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != 'mmpretrain':
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            execute = partial(self._execute, spec.loader.exec_module)
            spec.loader.exec_module = execute  # type: ignore[method-assign]
        return spec

    def _execute(self, execute: Callable[[ModuleType], None], module: ModuleType) -> None:
        try:
            with _quiet_import():
                import mmcv.cnn.bricks.transformer  # noqa: F401

                execute(module)
                leave_out_broken_multimodal()
                import mmpretrain.datasets  # noqa: F401
        except ImportError as error:
            # mmengine's registries take any failed import for a package that is not installed and go on without it.
            warnings.warn(str(error), stacklevel=2)
            raise
        self._action()
        sys.meta_path.remove(self)


def leave_out_broken_multimodal() -> None:
    """Let mmpretrain do without its multimodal models where transformers no longer has what they are made of.

    With transformers 5 and pycocotools installed, which mmdet needs, mmpretrain 1.2.0 cannot be imported at all:
    ``BertPreTrainedModel(PreTrainedModel)`` of BLIP ends in "NoneType takes no arguments". mmpretrain then says of each
    of these models what it needs, as without transformers. Expires when mmpretrain's BLIP imports with transformers 5.
    """
    from mmpretrain.utils import dependency

    if dependency.WITH_MULTIMODAL:
        try:
            from transformers.modeling_utils import (  # noqa: F401
                apply_chunking_to_forward,
                find_pruneable_heads_and_indices,
                prune_linear_layer,
            )
        except ImportError:
            dependency.WITH_MULTIMODAL = False


@contextmanager
def _quiet_import() -> Iterator[None]:
    """Keep what mmcv and mmpretrain print on import from the user, and explain errors in one line.

    mmcv-lite warns on import that it lacks ``MultiScaleDeformableAttention``, although mmpretrain never uses mmcv's
    compiled operators (https://github.com/open-mmlab/mmcv/issues/1975). Expires when mmcv warns on use.

    The OneDL fork prints that it lacks OneDL's own package when its data sets are imported (``print_log`` without a
    logger prints at every level). Expires when onedl-mmpretrain logs it.
    """
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')
            yield
    except ModuleNotFoundError as error:
        raise ImportError(_explain_missing(error)) from None
    except AssertionError as error:  # mmpretrain and mmcv assert each other's versions on import
        raise ImportError(f'{one_line(error)} To mend it: {_INSTALL_MMCV}') from error


def _explain_missing(error: ModuleNotFoundError) -> str:
    """One line for a package that cannot be imported."""
    package = (error.name or '').partition('.')[0]
    if package == 'mmcv':
        return f'glsim_mm needs mmcv: {_INSTALL_MMCV}'
    if package == 'mmpretrain':
        return 'glsim_mm needs mmpretrain: pip install "mmpretrain>=1.2"'
    return f'mmpretrain cannot be imported, it needs {package or error}: pip install {package}'
