"""GLSim (global-local similarity) for OpenMMLab: fine-grained image recognition and search with Vision Transformers.

Importing the package registers its modules in mmpretrain's registries, which is what
``custom_imports = dict(imports=['glsim_mm'])`` in a config is for. Without mmpretrain only what needs torch alone is
there, such as :mod:`glsim_mm.ops`.
"""

from importlib.util import find_spec

from .version import __version__

__all__ = ['__version__']

if find_spec('mmpretrain') is not None:
    from .compat import import_mmpretrain

    import_mmpretrain()

    from . import checkpoints, datasets, engine, evaluation, models

    __all__ += ['checkpoints', 'datasets', 'engine', 'evaluation', 'models']
