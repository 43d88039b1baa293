"""Work-arounds for bugs of dependencies, one function each, with its link and the condition under which it can go.

Importing this package changes nothing; :func:`apply_runtime_fixes` does.
"""

from .imports import after_mmpretrain, import_mmpretrain

__all__ = ['after_mmpretrain', 'apply_runtime_fixes', 'import_mmpretrain']


def apply_runtime_fixes() -> None:
    """Work-arounds that concern the whole process, for whoever builds models or loads checkpoints; may be repeated."""
    from .checkpoints import use_safe_checkpoint_loading
    from .numpy_names import restore_in1d

    use_safe_checkpoint_loading()
    restore_in1d()
