"""GLSim (global-local similarity) for OpenMMLab: fine-grained image recognition and search with Vision Transformers.

Importing the package costs next to nothing: it loads neither torch nor mmengine. Yet its modules are in mmpretrain's
registries as soon as mmpretrain is there, before or after, which is all that
``custom_imports = dict(imports=['glsim_mm'])`` in a config needs.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from . import errors  # noqa: F401  (first: it says which folder is in the way of the package retrieval)
from .compat import after_mmpretrain, import_mmpretrain
from .version import __version__

__all__ = ['__version__']

_SUBPACKAGES = ('apis', 'checkpoints', 'datasets', 'engine', 'evaluation', 'models')


def __getattr__(name: str) -> ModuleType:
    """Import a sub-package that is asked for as an attribute, as in ``glsim_mm.models``."""
    if name not in _SUBPACKAGES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return import_module(f'.{name}', __name__)


def _extend_mmpretrain() -> None:
    """Let mmpretrain's registries find our modules, and mmengine read checkpoints safely and in our layouts."""
    from . import registering  # imports mmengine and mmpretrain, which light tools do without; here they are loaded

    registering.extend_mmpretrain()


after_mmpretrain(_extend_mmpretrain)
# A config is being read or a model is about to be built: messages about missing packages reach the user now.
if 'mmengine' in sys.modules and find_spec('mmpretrain') is not None:
    import_mmpretrain()
